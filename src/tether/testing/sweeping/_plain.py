"""One run of a plain function: in a thread, ended at one of its looks.

Every look at a context with a deadline reads the clock of tether, and so does every
wait and every new scope: the reading is the place. To be ended there is, for a thread,
to find the context over. What never looks is not swept, as it cannot be ended.
"""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from _thread import get_ident
from collections import Counter
from contextlib import AsyncExitStack
from types import FrameType

from ... import _clock
from ..._errors import ContextError, DeadlineExceeded
from ..._roots import background
from ..._scope import Scope
from ..._tree import End
from .._standing import Standing
from .._virtual import VirtualClock
from ._case import Case
from ._places import Means, Moment, Place, words
from ._trace import ENDLESS, RAISES, Trace

WAYS = ((Moment.EARLY, Means.CONTEXT), (Moment.EARLY, Means.DEADLINE))
FAR = 1_000_000.0  # its deadline, if nothing else ends it
GLANCE = 0.0005
LAST = 1.0  # real seconds for one that is canceled at its limit
GRACE = 0.1  # real seconds of silence, while something outside may answer


def attempt(case: Case, trace: Trace) -> None:
    """Run it once, and write down in `trace` what it did."""
    with VirtualClock() as clock:
        runner = asyncio.Runner()
        with runner:
            stack = AsyncExitStack()
            state = runner.run(case.prepare(stack))
            try:
                outcome = _run(case, state, clock, trace)
                if not trace.problems:
                    _judge(trace, outcome)
                    again = _run(case, state, clock, Trace(None))
                    if again is not None:
                        trace.problems.append(
                            "the same operation on the same state raises "
                            f"{type(again).__name__}: {again}"
                        )
                said = runner.run(case.verify(state))
                if said:
                    trace.problems.append(f"check: {said}")
            finally:
                runner.run(stack.aclose())


def _run(
    case: Case, state: object, clock: VirtualClock, trace: Trace
) -> BaseException | None:
    raised: list[BaseException] = []
    scope = background().with_timeout(FAR, label=f"sweep of {case.name}")

    def body() -> None:
        try:
            with scope:
                case.call(scope, state)
        except BaseException as exc:
            raised.append(exc)

    thread = threading.Thread(target=body, name="the operation")
    now = _clock.now
    _clock.now = _Looks(trace, scope, thread).now
    try:
        thread.start()
        _drive(thread, clock, scope, case.limit, trace)
    finally:
        _clock.now = now
        scope.cancel()
    return raised[0] if raised else None


class _Looks:
    """Counts the looks of the operation, and ends it at that of the cut."""

    def __init__(self, trace: Trace, scope: Scope, thread: threading.Thread) -> None:
        self._trace = trace
        self._scope = scope
        self._thread = thread
        self._counts: Counter[str] = Counter()
        self._read = _clock.now
        self._busy = False

    def now(self) -> float:
        if get_ident() == self._thread.ident and not self._busy:
            self._busy = True
            try:
                self._look(sys._getframe(1))
            finally:
                self._busy = False
        return self._read()

    def _look(self, frame: FrameType | None) -> None:
        trace, cut = self._trace, self._trace.cut
        while frame is not None and _is_ours(frame):
            frame = frame.f_back
        if frame is None or frame.f_code is _BODY or frame.f_globals is globals():
            return  # the entry and the exit of the block around it
        where = words(frame)
        self._counts[where] += 1
        place = Place(where, self._counts[where])
        trace.places.append(place)
        if cut is not None and not trace.reached and place == cut.place:
            trace.reached = trace.struck = True
            trace.chain = _callers(frame)
            if cut.means is Means.CONTEXT:
                self._scope.cancel()
            else:
                self._scope._commit(End(DeadlineExceeded, None, self._read()))


def _is_ours(frame: FrameType) -> bool:
    name = frame.f_globals.get("__name__", "")
    return name.startswith("tether.") and frame.f_globals is not globals()


def _callers(frame: FrameType | None) -> tuple[str, ...]:
    chain: list[str] = []
    while frame is not None and frame.f_globals is not globals():
        if not _is_ours(frame):
            chain.append(words(frame))
        frame = frame.f_back
    return tuple(reversed(chain))


def _drive(
    thread: threading.Thread,
    clock: VirtualClock,
    scope: Scope,
    limit: float,
    trace: Trace,
) -> None:
    """Move the clock whenever the thread, and all it has started, waits."""
    end = clock.now() + limit
    stopped: float | None = None
    quiet = time.monotonic()
    while thread.is_alive():
        standing = {*clock._standing().values()}
        due = clock._next()
        is_due = due is not None and due <= end
        if Standing.RUNNING in standing:
            quiet = time.monotonic()
        elif is_due and Standing.OUTSIDE not in standing:
            clock._step(end if due is None else due)
            quiet = time.monotonic()
        elif time.monotonic() - quiet > GRACE:
            # Not at once: it may have ended, or be on its way, between two looks.
            if is_due:
                clock._step(end if due is None else due)
            elif stopped is None:
                trace.problems.append(f"{ENDLESS} within {limit:g} s")
                stopped = time.monotonic()
                scope.cancel()
            quiet = time.monotonic()
        if stopped is not None and time.monotonic() - stopped > LAST:
            return  # it does not look at its context: told, and left behind
        thread.join(GLANCE)


def _judge(trace: Trace, error: BaseException | None) -> None:
    if error is None:
        trace.outcome = "finished"
    elif isinstance(error, ContextError) and trace.struck:
        trace.outcome = "canceled"
    else:
        trace.outcome = f"raised {type(error).__name__}"
        trace.problems.append(f"{RAISES} {type(error).__name__}: {error}")


_BODY = next(
    one
    for one in _run.__code__.co_consts
    if hasattr(one, "co_name") and one.co_name == "body"
)
