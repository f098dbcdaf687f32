"""Where tasks, files, sockets and processes were made, kept cheaply while one watches.

A site is a code and an instruction of it; the line is worked out when somebody reads
it. The interpreter's audit events tell of files, sockets and processes; a hook for
these cannot be taken away again, so it is set once and looks at `watching`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import CodeType, FrameType
from typing import Any
from weakref import ref

from ..._describe import place

WALK = 16  # frames that are looked at for one that tells
KEPT = 10_000  # sites of descriptors, the oldest go first

Site = tuple[CodeType, int] | None

# By event, newest last: what the event tells of the thing, and where it happened.
_made: dict[str, list[tuple[Any, Site]]] = {}
watching = False
looking = False  # what the check itself opens does not count
_hooked = False

_PLUMBING = {
    *("_pytest", "pluggy", "pytest_asyncio", "asyncio", "uvloop", "socket"),
    *("subprocess", "threading"),
    *("tempfile", "pathlib", "tokenize", "linecache"),
}
_EVENTS = {"open", "socket.__new__", "subprocess.Popen"}


def here(frame: FrameType | None) -> Site:
    """The nearest caller that is no part of an event loop or of tether."""
    for _ in range(WALK):
        if frame is None:
            break
        # Not by its code: to be asked for that is an event, which the hook would hear.
        if not _is_plumbing(frame.f_globals.get("__name__", "")):
            return frame.f_code, frame.f_lasti
        frame = frame.f_back
    return None


def words(how: str, site: Site) -> list[str]:
    """A site in a line, after `how`; no line if it is not known."""
    if site is None:
        return []
    code, lasti = site
    return [f"{how} {place(code, lasti)} in {code.co_qualname}"]


def start() -> None:
    """Keep sites from now on."""
    global watching, _hooked
    watching = True
    if not _hooked:
        _hooked = True
        sys.addaudithook(_heard)


def stop() -> None:
    """Keep none from now on."""
    global watching
    watching = False


def forget() -> None:
    """Those that were kept are not asked for any more."""
    _made.clear()


def maker(site: Site) -> frozenset[str]:
    """The names of the function it was made in, for rules that ignore it."""
    name = "" if site is None else site[0].co_qualname
    return frozenset({name, name.rpartition(".")[2]}) if name else frozenset()


def made(event: str, fits: Callable[[Any], bool]) -> list[str]:
    """The line where the newest thing that fits was made, if that is known."""
    for what, site in reversed(_made.get(event, ())):
        if site and fits(what):
            return words("made at", site)
    return []


def _heard(event: str, args: tuple[Any, ...]) -> None:
    # At the exit of the interpreter names of a module are None, those with _ first.
    if watching and not looking and _EVENTS and event in _EVENTS:
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


def _is_plumbing(module: str) -> bool:
    known = _known.get(module)
    if known is None:
        known = module.partition(".")[0] in _PLUMBING or module.startswith("tether.")
        _known[module] = known
    return known


_known: dict[str, bool] = {}
