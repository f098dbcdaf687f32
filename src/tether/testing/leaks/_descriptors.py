"""Open descriptors: files, sockets, pipes. What they are the kernel tells."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Hashable
from functools import partial
from pathlib import PurePath
from typing import Any, NamedTuple, final

from . import _multiprocessing, _sites
from ._found import Found
from ._leak import Leak

FOLDER = "/proc/self/fd"
# What the system and its libraries open once, for good.
FOR_GOOD = ("/dev/null", "/dev/urandom", "/dev/tty", "/proc/", "/sys/")
# Once it has been used, gRPC makes one of its own anew whenever the process forks.
OF_GRPC = ("anon_inode:[eventfd]",)
GRPC = "grpc._cython.cygrpc"

_Key = tuple[str, int, int, int]


class _Look(NamedTuple):
    """What there was at a look: the names of all, and what may be somebody's."""

    names: dict[_Key, str]
    helpers: frozenset[int]
    found: dict[Hashable, Found]


@final
class Descriptors:
    """The open descriptors of this process, where there is a /proc."""

    def __init__(self) -> None:
        self._last = _Look({}, frozenset(), {})

    def now(self) -> dict[Hashable, Found]:
        helpers = _multiprocessing.helpers()[1]
        if not _is_as(self._last, helpers):
            self._last = _look(self._last.names, helpers)
        return self._last.found


def _is_as(last: _Look, helpers: frozenset[int]) -> bool:
    """Whether there are as many as at the last look, and each is what it was.

    A number may come to mean something else without a word: closed and opened again,
    or by dup2, by which output is captured.
    """
    names = last.names
    if helpers != last.helpers:
        return False
    try:
        if os.stat(FOLDER).st_size != len(names):  # noqa: PTH116 - fast
            return False  # or a kernel that does not count them, before 6.2
        for _, number, device, inode in names:
            stat = os.fstat(number)
            if stat.st_ino != inode or stat.st_dev != device:
                return False
    except OSError:
        return False  # one is closed; or there is no /proc on this system
    return True


def _look(before: dict[_Key, str], helpers: frozenset[int]) -> _Look:
    try:
        numbers = os.listdir(FOLDER)  # noqa: PTH208 - names, fast
    except OSError:
        numbers = []
    names: dict[_Key, str] = {}
    for number in map(int, numbers):
        try:
            stat = os.fstat(number)
        except OSError:
            continue  # that of the folder itself
        key = "fd", number, stat.st_dev, stat.st_ino
        names[key] = before.get(key) or _name(number)  # names are dear
    nobodys = FOR_GOOD + OF_GRPC if GRPC in sys.modules else FOR_GOOD
    found: dict[Hashable, Found] = {
        key: Found(None, partial(_told, key[1]))
        for key, name in names.items()
        if name and not name.startswith(nobodys) and key[1] not in helpers
    }
    return _Look(names, helpers, found)


def key_of(thing: Any) -> Hashable:
    """The key under which `now` lists the descriptor of this; None if it has none."""
    try:
        number = thing.fileno()
        stat = os.fstat(number)
    except Exception:  # it is closed, or no file; its method may be anybody's
        return None
    return "fd", number, stat.st_dev, stat.st_ino


def _name(number: int) -> str:
    try:
        return os.readlink(f"{FOLDER}/{number}")  # noqa: PTH115 - many, fast
    except OSError:
        return ""  # closed meanwhile


def _told(number: int) -> Leak:
    name = _name(number)
    if name.startswith("socket:"):
        kind, what = "socket", _ends(number)
        site = _sites.made("socket.__new__", partial(_is_socket, number))
        cure = "close it (with, finally); close the client, the pool or the transport"
    elif name.startswith(("pipe:", "anon_inode:")):
        kind, what, site = "descriptor", name, []
        cure = (
            "close what it belongs to: a loop, a child process, a pipe; that of "
            "ctx.fileno() closes with its context"
        )
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


def _is_socket(number: int, referred: Any) -> bool:
    """Whether the socket that it refers to has this descriptor."""
    one = referred()
    return one is not None and one.fileno() == number


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
