"""Where tasks, files, sockets and processes were made, kept cheaply while one watches.

A site is a few (code, instruction) words; lines are worked out when somebody reads
them. The interpreter's audit events tell of files, sockets and processes; a hook for
these cannot be taken away again, so it is set once and looks at `watching`.
"""

from __future__ import annotations

import sys
from pathlib import PurePath
from types import CodeType, FrameType

DEPTH = 2
WALK = 16  # frames that are looked at for these
KEPT = 10_000  # sites of descriptors, the oldest go first

Site = tuple[tuple[CodeType, int], ...]

# Of what has no identity of its own yet: by event, newest last.
made: dict[str, list[Site]] = {}
# How often a descriptor may have changed its meaning, to see at a glance that none did.
changes = 0
watching = 0
looking = False  # what the check itself opens does not count
_hooked = False

_EVENTS = {"open", "socket.__new__", "subprocess.Popen", "os.posix_spawn", "os.fork"}


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


def place(code: CodeType, lasti: int) -> str:
    """File and line, the last two parts of the path."""
    line = code.co_firstlineno
    for start, end, number in code.co_lines():
        if start <= lasti < end and number is not None:
            line = number
            break
    return f"{'/'.join(PurePath(code.co_filename).parts[-2:])}:{line}"


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
        made.clear()


def _heard(event: str, _: object) -> None:
    global changes
    if watching and event in _EVENTS and not looking:
        changes += 1
        sites = made.setdefault(event, [])
        sites.append(here(sys._getframe(1)))
        if len(sites) > KEPT:
            del sites[: KEPT // 2]


def _is_plumbing(frame: FrameType) -> bool:
    name = frame.f_globals.get("__name__", "")
    return name.partition(".")[0] in {"asyncio", "_pytest", "pluggy", "uvloop"} or (
        name.startswith(("tether.", "socket", "subprocess", "threading", "tempfile"))
    )
