"""Open descriptors: files, sockets, pipes. What they are the kernel tells."""

from __future__ import annotations

import os
import socket
from collections.abc import Hashable
from functools import partial
from typing import final

from . import _sites
from ._found import Found
from ._leak import Leak

FOLDER = "/proc/self/fd"
# What the system and its libraries open once, for good.
FOR_GOOD = ("/dev/null", "/dev/urandom", "/dev/tty", "/proc/", "/sys/")


@final
class Descriptors:
    """The open descriptors of this process, where there is a /proc."""

    def __init__(self) -> None:
        self._seen: dict[str, str] = {}
        self._changes = -1
        self._warm = False

    def start(self) -> None:
        self._changes = -1
        if not self._warm:
            self._warm = True
            try:
                import uvloop
            except ImportError:
                return
            # The first loop of a process opens a pipe for signals, for good.
            uvloop.new_event_loop().close()

    def stop(self) -> None:
        self._seen.clear()

    def now(self) -> dict[Hashable, Found]:
        # A number may come to mean another file, and the names of all are dear: they
        # are asked for only if something was opened since.
        changes = _sites.changes
        try:
            numbers = os.listdir(FOLDER)  # noqa: PTH208 - names, fast
        except OSError:
            return {}  # no /proc on this system
        if changes != self._changes or numbers != [*self._seen]:
            self._seen = {number: _name(number) for number in numbers}
            self._changes = changes
        return {
            ("fd", number, name): Found(None, partial(_told, number, name))
            for number, name in self._seen.items()
            if name and not name.startswith(FOR_GOOD)
        }


def _name(number: str) -> str:
    try:
        return os.readlink(f"{FOLDER}/{number}")  # noqa: PTH115 - many, fast
    except OSError:
        return ""  # that of the folder itself


def _told(number: str, name: str) -> Leak:
    if name.startswith("socket:"):
        event, kind = "socket.__new__", "socket"
        what = _ends(int(number))
        cure = "close it (with, finally); close the client, the pool or the transport"
    elif name.startswith(("pipe:", "anon_inode:")):
        event, kind, what = "", "descriptor", name
        cure = "close what it belongs to: a loop, a child process, a pipe"
    else:
        event, kind, what = "open", "file", name
        cure = "with open(...) as file:"
    site = _sites.made.get(event, [])
    details = [
        f"perhaps made at {lines[0]}"
        for lines in [_sites.lines(one) for one in site[-1:]]
        if lines
    ]
    return Leak(kind, f"{what} (descriptor {number})", tuple(details), cure)


def _ends(number: int) -> str:
    """The two ends of a socket."""
    try:
        with socket.socket(fileno=os.dup(number)) as copy:
            try:
                peer = f" to {copy.getpeername()}"
            except OSError:
                peer = ""
            return f"{copy.family.name} {copy.getsockname() or ''}{peer}"
    except OSError:
        return "closed meanwhile"
