"""Child processes that run, or that have ended and were not waited for."""

from __future__ import annotations

import os
from collections.abc import Hashable
from functools import partial
from pathlib import Path, PurePath
from typing import Any, final

from . import _multiprocessing, _sites
from ._found import Found
from ._leak import Leak

TASKS = "/proc/self/task"
# Any child, ended or not; it is not waited for by this.
_ANY = os.WEXITED | os.WNOWAIT | os.WNOHANG if hasattr(os, "waitid") else 0


@final
class Processes:
    """The children of this process, where the kernel lists them (Linux)."""

    def now(self) -> dict[Hashable, Found]:
        found: dict[Hashable, Found] = {}
        if not _any():
            return found
        helpers, _ = _multiprocessing.helpers()
        for pid in _children():
            if pid in helpers:
                continue
            try:
                fields = (
                    Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
                )
            except OSError:
                continue
            found["process", pid, fields[19]] = Found(
                None, partial(_told, pid, fields[0])
            )
        return found


def _any() -> bool:
    """Whether there are any, which the kernel tells far quicker than which."""
    if not _ANY:
        return True
    try:
        os.waitid(os.P_ALL, 0, _ANY)
    except ChildProcessError:
        return False
    return True


def _children() -> list[str]:
    """Their numbers; each thread has those that it has started."""
    pids: list[str] = []
    _sites.looking = True
    try:
        for thread in os.listdir(TASKS):  # noqa: PTH208 - at each look, fast
            with open(f"{TASKS}/{thread}/children") as file:  # noqa: PTH123
                pids += file.read().split()
    except OSError:
        pass  # no such list on this system, or a thread that has just ended
    finally:
        _sites.looking = False
    return pids


def _told(pid: str, state: str) -> Leak:
    try:
        command = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ")
    except OSError:
        command = b""
    shown = command.decode(errors="replace").strip()[:120] or "it has ended"
    site = _sites.made("subprocess.Popen", partial(_is_command, shown))
    what = f"{pid}: {shown}" + (" (ended, not waited for)" if state == "Z" else "")
    cure = "wait() for it; tether.ext.subprocess ends its tree with the context"
    return Leak("process", what, tuple(site), cure)


def _is_command(shown: str, words: Any) -> bool:
    """Whether these words have started what is shown."""
    if isinstance(words, str | bytes | PurePath):
        words = [words]
    line = " ".join(os.fsdecode(word) for word in words)
    return bool(line) and shown.endswith(line[:120])
