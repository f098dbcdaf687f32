"""Open descriptors: files, sockets, pipes. What they are the kernel tells."""

from __future__ import annotations

import os
import socket
from collections.abc import Hashable
from functools import partial
from pathlib import PurePath
from typing import Any, final

from . import _multiprocessing, _sites
from ._found import Found
from ._leak import Leak

FOLDER = "/proc/self/fd"
# What the system and its libraries open once, for good.
FOR_GOOD = ("/dev/null", "/dev/urandom", "/dev/tty", "/proc/", "/sys/")

_Key = tuple[str, str, int, int]


@final
class Descriptors:
    """The open descriptors of this process, where there is a /proc."""

    def __init__(self) -> None:
        self._names: dict[_Key, str] = {}
        self._warm = False

    def start(self) -> None:
        if not self._warm:
            self._warm = True
            try:
                import uvloop
            except ImportError:
                return
            # The first loop of a process opens a pipe for signals, for good.
            uvloop.new_event_loop().close()

    def stop(self) -> None: ...

    def now(self) -> dict[Hashable, Found]:
        try:
            numbers = os.listdir(FOLDER)  # noqa: PTH208 - names, fast
        except OSError:
            return {}  # no /proc on this system
        # Names are dear, and a number may come to mean something else without a word
        # (dup2, by which output is captured): what the number is, the kernel tells.
        names: dict[_Key, str] = {}
        for number in numbers:
            try:
                stat = os.fstat(int(number))
            except OSError:
                continue  # that of the folder itself
            key = "fd", number, stat.st_dev, stat.st_ino
            names[key] = self._names.get(key) or _name(number)
        self._names = names
        _, helpers = _multiprocessing.helpers()
        return {
            key: Found(None, partial(_told, key[1]))
            for key, name in names.items()
            if name and not name.startswith(FOR_GOOD) and key[1] not in helpers
        }


def _name(number: str) -> str:
    try:
        return os.readlink(f"{FOLDER}/{number}")  # noqa: PTH115 - many, fast
    except OSError:
        return ""  # closed meanwhile


def _told(number: str) -> Leak:
    name = _name(number)
    if name.startswith("socket:"):
        kind, what = "socket", _ends(int(number))
        site = _sites.made("socket.__new__", partial(_is_socket, number))
        cure = "close it (with, finally); close the client, the pool or the transport"
    elif name.startswith(("pipe:", "anon_inode:")):
        kind, what, site = "descriptor", name, []
        cure = "close what it belongs to: a loop, a child process, a pipe"
    else:
        kind, what = "file", name
        site = _sites.made("open", partial(_is_file, name))
        cure = "with open(...) as file:"
    return Leak(kind, f"{what} (descriptor {number})", tuple(site), cure)


def _is_file(name: str, path: object) -> bool:
    """Whether this is the path by which the file was opened."""
    if not isinstance(path, str | bytes | PurePath):
        return False
    return os.path.realpath(os.fsdecode(path)) == name.removesuffix(" (deleted)")


def _is_socket(number: str, referred: Any) -> bool:
    """Whether the socket that it refers to has this descriptor."""
    one = referred()
    return one is not None and str(one.fileno()) == number


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
