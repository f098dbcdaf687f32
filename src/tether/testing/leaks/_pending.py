"""What a loop still has in hand: timers of one's own, generators half used.

To be seen in loops that are asyncio's own; uvloop keeps them in C.
"""

from __future__ import annotations

import asyncio
from collections.abc import Hashable
from functools import partial
from typing import Any, final

from ..._where import is_installed, name_of
from . import _chains
from ._found import Found
from ._leak import Leak
from ._owner import in_variables
from ._tasks import Loop, Tasks

PLUMBING = ("asyncio", "anyio", "tether", "uvloop")


@final
class Pending:
    """The timers and generators of the loops that are open."""

    def __init__(self, tasks: Tasks) -> None:
        self._tasks = tasks

    def now(self) -> dict[Hashable, Found]:
        found: dict[Hashable, Found] = {}
        for loop in self._tasks.open_loops():
            # A library's timer on a loop that goes on, such as that for a client's idle
            # connections, is its own affair.
            found |= timers(loop, installed=False)
            found |= generators(loop)
        return found


def timers(loop: Loop, *, installed: bool) -> dict[Hashable, Found]:
    """Those that are somebody's own: not those of a sleep or a timeout.

    With or without those of `installed` libraries.
    """
    scheduled = getattr(loop, "_scheduled", None)
    if not scheduled:  # as it is nearly always
        return {}
    return {
        ("timer", id(handle), handle.when()): Found(
            in_variables(getattr(handle, "_context", None)),
            partial(_timer, handle, loop),
        )
        for handle in [*scheduled]
        if not handle.cancelled() and _is_own(handle, installed)
    }


def generators(loop: Loop) -> dict[Hashable, Found]:
    """Asynchronous generators that stand at a yield and that somebody holds."""
    every = getattr(loop, "_asyncgens", None)
    if not every:  # as it is nearly always
        return {}
    return {
        ("generator", id(one)): Found(None, partial(_generator, one))
        for one in [*every]
        if one.ag_frame is not None and not one.ag_running
    }


def _is_own(handle: Any, installed: bool) -> bool:
    callback = handle._callback
    callback = getattr(callback, "func", callback)
    module = getattr(callback, "__module__", None) or ""
    if module.partition(".")[0] in PLUMBING:
        return False
    code = getattr(callback, "__code__", None)
    return installed or code is None or not is_installed(code.co_filename)


def _timer(handle: asyncio.TimerHandle, loop: Loop) -> Leak:
    name = name_of(handle._callback)  # type: ignore[attr-defined]
    cure = "keep what call_later returns, and cancel() it"
    names = frozenset({name.rstrip("()"), name.rstrip("()").rpartition(".")[2]})
    left = handle.when() - loop.time()
    return Leak("timer", name, (f"due in {left:.3g} s",), cure, names)


def _generator(one: Any) -> Leak:
    frame = one.ag_frame
    details = () if frame is None else (f"at {_chains.line(frame)}",)
    cure = "async with contextlib.aclosing(generator): around the loop that uses it"
    names = frozenset({one.__qualname__, one.__name__})
    return Leak("asynchronous generator", f"{one.__qualname__}()", details, cure, names)
