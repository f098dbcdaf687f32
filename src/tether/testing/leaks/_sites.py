"""Where tasks, files, sockets and processes were made, kept cheaply while one watches.

A site is a few (code, instruction) words; lines are worked out when somebody reads
them. The interpreter's audit events tell of files, sockets and processes; a hook for
these cannot be taken away again, so it is set once and looks at `watching`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import CodeType, FrameType
from typing import Any
from weakref import ref

from ..._describe import place

DEPTH = 2
WALK = 16  # frames that are looked at for these
KEPT = 10_000  # sites of descriptors, the oldest go first

Site = tuple[tuple[CodeType, int], ...]

# By event, newest last: what the event tells of the thing, and where it happened.
_made: dict[str, list[tuple[Any, Site]]] = {}
watching = 0
looking = False  # what the check itself opens does not count
_hooked = False

_PLUMBING = {
    *("_pytest", "pluggy", "asyncio", "uvloop", "socket", "subprocess", "threading"),
    *("tempfile", "pathlib", "tokenize", "linecache"),
}
_EVENTS = {"open", "socket.__new__", "subprocess.Popen"}


def here(frame: FrameType | None) -> Site:
    """The nearest callers that are no part of an event loop or of tether."""
    site: list[tuple[CodeType, int]] = []
    for _ in range(WALK):
        if frame is None:
            break
        if not _is_plumbing(frame):
            site.append((frame.f_code, frame.f_lasti))
            if len(site) == DEPTH:
                break
        frame = frame.f_back
    return tuple(site)


def lines(site: Site) -> list[str]:
    """A site in words, the nearest first."""
    return [f"{place(code, lasti)} in {code.co_qualname}" for code, lasti in site]


def watch() -> None:
    """Keep sites from now on, until `unwatch` has been called as often."""
    global watching, _hooked
    watching += 1
    if not _hooked:
        _hooked = True
        sys.addaudithook(_heard)


def unwatch() -> None:
    global watching
    watching -= 1
    if not watching:
        _made.clear()


def maker(site: Site) -> frozenset[str]:
    """The names of the function it was made in, for rules that ignore it."""
    name = site[0][0].co_qualname if site else ""
    return frozenset({name, name.rpartition(".")[2]}) if name else frozenset()


def made(event: str, fits: Callable[[Any], bool]) -> list[str]:
    """The line where the newest thing that fits was made, if that is known."""
    for what, site in reversed(_made.get(event, ())):
        if site and fits(what):
            return [f"made at {line}" for line in lines(site)[:1]]
    return []


def _heard(event: str, args: tuple[Any, ...]) -> None:
    if watching and event in _EVENTS and not looking:
        # A path, a socket (not to be kept alive), the words of a command.
        what = args[1] if event == "subprocess.Popen" else args[0]
        if event == "socket.__new__":
            try:
                what = ref(what)
            except TypeError:
                return  # a bare _socket.socket
        sites = _made.setdefault(event, [])
        sites.append((what, here(sys._getframe(1))))
        if len(sites) > KEPT:
            del sites[: KEPT // 2]


def _is_plumbing(frame: FrameType) -> bool:
    name = frame.f_globals.get("__name__", "")
    return name.partition(".")[0] in _PLUMBING or name.startswith("tether.")
