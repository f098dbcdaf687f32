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
from collections.abc import Callable
from contextlib import AsyncExitStack
from contextvars import copy_context
from types import FrameType

from ... import _clock
from ..._errors import ContextError, DeadlineExceeded
from ..._roots import background
from ..._scope import Scope
from ..._tree import End
from .._standing import Standing
from .._virtual import VirtualClock
from ._case import Case
from ._places import Means, Moment, Place, callers, is_ours, words
from ._telling import Telling
from ._trace import Kind, Trace

WAYS = ((Moment.EARLY, Means.CONTEXT), (Moment.EARLY, Means.DEADLINE))
FAR = 1_000_000.0  # its deadline, if nothing else ends it
GLANCE = 0.0005
# These have asked for ends before they read the clock, to compare it with a deadline.
# Only if that has passed do they ask again, and find the end that has come meanwhile.
COMPARES = {one.__code__ for one in (Scope._ended, Scope.err, Scope.__enter__)}
LONGEST = 60.0  # real seconds in which it may compute, while the clock stands
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
                operate(
                    lambda ctx: case.call_plainly(ctx, state, trace),
                    trace,
                    case.name,
                    case.limit,
                    clock,
                )
                said = runner.run(case.verify(state, trace))
                if said:
                    trace.add(Kind.CHECK, f"check: {said}")
            finally:
                runner.run(stack.aclose())


def operate(
    call: Callable[[Scope], object],
    trace: Trace,
    name: str,
    limit: float,
    clock: VirtualClock | None = None,
) -> None:
    """Run it, end it at the cut, judge it, and see whether it works again.

    `limit` is in seconds of `clock`; of the clock that is there, if none is given.
    """
    outcome = _run(call, trace, name, limit, clock)
    if trace.problems:
        return
    _judge(trace, outcome)
    second = Trace(None)
    again = _run(call, second, name, limit, clock)
    trace.abandoned = second.abandoned
    head = "the same operation on the same state"
    if second.problems:  # of which each is said of "it"
        said = second.problems[0].text.removeprefix("it")
        trace.add(Kind.AGAIN, f"{head}{said}")
    elif again is not None:
        trace.add(Kind.AGAIN, f"{head} raises {type(again).__name__}: {again}")


def _run(
    call: Callable[[Scope], object],
    trace: Trace,
    name: str,
    limit: float,
    clock: VirtualClock | None,
) -> BaseException | None:
    raised: list[BaseException] = []
    over = threading.Event()  # or given up
    scope = background().with_timeout(FAR, label=f"sweep of {name}")
    context = copy_context()

    def within() -> None:
        with scope:
            call(scope)

    def body() -> None:
        try:
            context.run(within)
        except BaseException as exc:
            raised.append(exc)
        finally:
            over.set()

    # One that is left behind, as nothing ends it, must not keep the program alive.
    thread = threading.Thread(target=body, name="the operation", daemon=True)
    now = _clock.now
    _clock.now = _Looks(trace, scope, thread).now
    try:
        with Telling(trace, scope, thread, over.set):
            thread.start()
            if clock is None:
                _wait(thread, over, scope, limit, trace)
            else:
                _drive(thread, clock, scope, limit, trace)
    finally:
        _clock.now = now
        scope.cancel()
        trace.abandoned = thread.is_alive()
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
        reader = sys._getframe(1)
        if get_ident() == self._thread.ident and not self._busy:
            self._busy = True
            try:
                ended = self._look(reader)
            finally:
                self._busy = False
            if ended and reader.f_code in COMPARES:
                return _clock.INF
        return self._read()

    def _look(self, frame: FrameType | None) -> bool:
        """Note the place; end the operation, and say so, if it is that of the cut."""
        trace, cut = self._trace, self._trace.cut
        if trace.struck:
            return False  # it is on its way out, and is not ended again
        while frame is not None and is_ours(frame):
            frame = frame.f_back
        if frame is None or frame.f_globals is globals():
            return False  # the entry and the exit of the block around it
        where = words(frame)
        self._counts[where] += 1
        place = Place(where, self._counts[where])
        trace.places.append(place)
        if cut is None or trace.reached or place != cut.place:
            return False
        trace.reached = trace.struck = True
        trace.chain = callers(frame)
        if cut.means is Means.CONTEXT:
            self._scope.cancel()
        else:
            self._scope._commit(End(DeadlineExceeded, None, self._read()))
        return True


def _wait(
    thread: threading.Thread,
    over: threading.Event,
    scope: Scope,
    limit: float,
    trace: Trace,
) -> None:
    if not over.wait(limit):
        trace.add(Kind.ENDLESS, _endless(thread, f"{limit:g} s"))
        scope.cancel()
    thread.join(LAST)


def _endless(thread: threading.Thread, limit: str) -> str:
    frame = inner = sys._current_frames().get(thread.ident or 0)
    while inner is not None:
        if inner.f_code in OURS:
            frame = inner  # it is being counted just now
        inner = inner.f_back
    lines = "".join(f"\n  at {one}" for one in reversed(callers(frame)))
    return f"it does not end within {limit}{lines}"


# What of the sweep itself is called by the operation.
OURS = {_Looks.now.__code__, Telling.count.__code__}


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
    quiet = busy = time.monotonic()
    while thread.is_alive():
        if trace.unending and stopped is None:
            stopped = time.monotonic()  # it was given up
        standing = {*clock._standing().values()}
        due = clock._next()
        is_due = due is not None and due <= end
        if Standing.RUNNING in standing:
            quiet = time.monotonic()
            if stopped is None and quiet - busy > LONGEST:
                said = f"{LONGEST:g} real seconds, in which it does not wait"
                trace.add(Kind.ENDLESS, _endless(thread, said))
                stopped = quiet
                scope.cancel()
        elif is_due and Standing.OUTSIDE not in standing:
            clock._step(end if due is None else due)
            quiet = busy = time.monotonic()
        elif time.monotonic() - quiet > GRACE:
            # Not at once: it may have ended, or be on its way, between two looks.
            if is_due:
                clock._step(end if due is None else due)
            elif stopped is None:
                trace.add(Kind.ENDLESS, _endless(thread, f"{limit:g} s"))
                stopped = time.monotonic()
                scope.cancel()
            quiet = busy = time.monotonic()
        if stopped is not None and time.monotonic() - stopped > LAST:
            return  # it does not look at its context: told, and left behind
        thread.join(GLANCE)


def _judge(trace: Trace, error: BaseException | None) -> None:
    if error is None:
        trace.outcome = "finished"
        if trace.ignored and trace.struck:
            said = "it swallows the end, and finishes as if none came"
            trace.add(Kind.SWALLOWED, said)
    elif isinstance(error, ContextError) and trace.struck:
        trace.outcome = "canceled"
    else:
        trace.outcome = f"raised {type(error).__name__}"
        if trace.cut is None:
            trace.error = error
        trace.add(Kind.RAISES, f"it raises {type(error).__name__}: {error}")
