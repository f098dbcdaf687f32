"""A process group: whether it is over, signals to it, its leader's exit status.

Invariant: the number of a group is signaled only while nobody else can have it. That
is while its leader is not reaped, or when a member was seen just before.
"""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path
from typing import Final, final

PROC: Final = "/proc"


@final
class ProcessGroup:
    """The group that a process leads, which was started in a session of its own."""

    __slots__ = ("_popen", "pidfd")

    def __init__(self, popen: subprocess.Popen[bytes]) -> None:
        self._popen = popen
        self.pidfd: int | None = None  # readable when the leader has ended
        try:
            self.pidfd = os.pidfd_open(popen.pid)
        except (AttributeError, OSError):
            pass  # not Linux, forbidden, or out of descriptors

    def leader_has_ended(self) -> bool:
        """Whether the leader has ended; it is not reaped by that, where possible."""
        popen = self._popen
        if popen.returncode is not None:
            return True
        if not hasattr(os, "waitid"):
            return popen.poll() is not None
        try:
            how = os.WEXITED | os.WNOHANG | os.WNOWAIT
            return os.waitid(os.P_PID, popen.pid, how) is not None
        except ChildProcessError:  # somebody else has reaped it
            return True

    def is_over(self) -> bool:
        """Whether the leader has ended and no other member lives."""
        return self.leader_has_ended() and not self._others_live()

    def _others_live(self) -> bool:
        pid = self._popen.pid
        if self._popen.returncode is not None and not _exists(pid):
            return False
        found = _has_living_member(pid)
        if found is None:  # nothing tells but the number itself
            self.reap()
            return _exists(pid)
        return found

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to all members."""
        if self._popen.returncode is not None and not self._others_live():
            return
        try:
            os.killpg(self._popen.pid, number)
        except (ProcessLookupError, PermissionError):
            pass  # gone, or somebody else's: it shows in `is_over`

    def reap(self) -> int | None:
        """The leader's exit status; None while it lives."""
        return self._popen.poll()

    def close(self) -> None:
        """Let go of it."""
        self.reap()
        if self.pidfd is not None:
            os.close(self.pidfd)


def _exists(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # there is one, of another user
    return True


def _has_living_member(group: int) -> bool | None:
    """Whether a process of the group lives; None if the system does not tell.

    Zombies are members too, until somebody reaps them. In a container the first
    process often does not, so that they stay for ever.
    """
    try:
        with os.scandir(PROC) as entries:
            pids = [int(entry.name) for entry in entries if entry.name.isdigit()]
    except OSError:
        return None
    if not pids:
        return None
    return any(_is_in(group, pid) and _lives(pid) for pid in pids)


def _is_in(group: int, pid: int) -> bool:
    try:
        return os.getpgid(pid) == group
    except OSError:
        return False  # gone meanwhile


def _lives(pid: int) -> bool:
    try:
        stat = Path(PROC, str(pid), "stat").read_bytes()
    except OSError:
        return False
    # The state stands behind the name, which is in parentheses and may contain some.
    return stat[stat.rindex(b")") + 2 :][:1] not in b"ZX"
