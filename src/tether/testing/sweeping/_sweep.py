"""sweep(op): the operation is ended at every place, in every way, once each.

A first run without an end tells which places there are and what is wrong anyway. Each
place that a later run shows for the first time is taken in as well. A place that is not
reached again, though tried again, is said to be unresolved.
"""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from .. import _run
from .._pace import Deadlock
from ..leaks import Watch
from . import _plain
from ._attempt import attempt
from ._case import NO_CTX, Case, case
from ._places import Cut, Means, Moment, Place, parse
from ._report import Report, findings
from ._trace import FAILED, LEAKS, Kind, Trace

TRIES = 3
MOST = 2000  # places of one operation
FROZEN_BY_PYTHON = 1000  # objects; at its start 3.12 keeps some hundred out of the way

_one = threading.Lock()

Ways = tuple[tuple[Moment, Means], ...]

WAYS: Ways = (
    (Moment.EARLY, Means.CANCEL),
    (Moment.LATE, Means.CANCEL),
    (Moment.EARLY, Means.CONTEXT),
    (Moment.LATE, Means.CONTEXT),
    (Moment.EARLY, Means.DEADLINE),
    (Moment.LATE, Means.DEADLINE),
)


def sweep(
    op: Callable[..., object],
    *,
    setup: Callable[[], object] | None = None,
    check: Callable[..., object] | None = None,
    at: str | None = None,
    twice: bool = False,
    limit: float = 3600.0,
    real_time: bool = False,
) -> Report:
    """What happens if `op` is ended at each of the places where it can be ended.

    `op` runs again and again, on fresh state from `setup`, and is ended at one place
    each time: while it waits there; late, when what it waits for has come and it has
    not gone on yet; by `task.cancel()`, by its context and by its deadline; while the
    tasks that it starts wait as well. Then it must have ended as canceled or have
    finished, nothing may be left behind (see `Watch`), it must work again on the same
    state, and `check` must hold.

        >>> import asyncio
        >>> from tether.testing import sweep
        >>> async def transfer(accounts):
        ...     accounts["a"] -= 1
        ...     await asyncio.sleep(0.1)
        ...     accounts["b"] += 1
        >>> def check(accounts):
        ...     assert sum(accounts.values()) == 10, "money is lost"
        >>> report = sweep(transfer, setup=lambda: {"a": 5, "b": 5}, check=check)
        >>> report.verdict.value, report.findings[0].problem
        ('FAIL', 'check: money is lost')

    `op` may take `ctx` first, and the state, if there is a `setup`. What `setup`
    returns or awaits is the state; a context manager, plain or asynchronous, is
    entered, and left at the end. `check` takes the state; it raises `AssertionError`,
    returns a text or False if something is wrong.

    A plain function must take `ctx`; it runs in a thread and is ended at each of its
    looks at the context or the clock of tether.

    `twice=True` cancels it a second time, at every place where its cleanup waits: the
    client has left, and now the server stops.

    Time is virtual (see `run`), so that hours of back-off take milliseconds; `limit` is
    in seconds of it: computing takes none. `real_time=True` runs on the real clock,
    `limit` then, too. `at` replays the one place that a report names. `report.verify()`
    raises unless it is a PASS.

    Raises `RuntimeError` if the check breaks although nothing was ended, and if another
    sweep runs in this process; `TypeError` for what cannot be swept.
    """
    if asyncio.events._get_running_loop() is not None:
        raise RuntimeError("sweep() starts loops of its own; one runs here")
    one = case(op, setup, check, limit)
    if not one.is_async and not one.takes_ctx:
        raise TypeError(NO_CTX.format(name=one.name))
    ways = WAYS if one.is_async else _plain.WAYS
    only = None if at is None else parse(at)
    engine = _engine(one, real_time)
    with quiet_collector():
        return conduct(one.name, engine, ways, only=only, twice=twice)


@contextmanager
def _alone() -> Iterator[None]:
    """Not beside another sweep."""
    if not _one.acquire(blocking=False):
        raise RuntimeError(
            "one sweep at a time: another one runs in this process, and each would "
            "take the other's clock, and what it leaves behind, for its own"
        )
    try:
        yield
    finally:
        _one.release()


@_alone()
def conduct(
    name: str,
    run: Callable[[Trace], None],
    ways: Ways,
    *,
    only: Cut | None,
    twice: bool,
) -> Report:
    """Have `run` do all the runs, and sum up."""
    base = Trace(None)
    run(base)
    failed = any(base.of(FAILED))
    if base.refused is not None and not failed:
        raise base.refused
    known: dict[Place, None] = dict.fromkeys(base.places)
    yields = set(base.yields)
    traces: list[Trace] = []
    runs = 1
    # Once for all: what is wrong without an end tells nothing when there was one.
    unresolved = [
        f"without an end, {one.text}" for one in base.problems if one.kind not in LEAKS
    ]
    dropped = False
    missed: list[Cut] = []
    delivered: list[Cut] = []
    todo = [*_cuts(known, ways)] if only is None else [only]
    if failed:
        todo = []
    done = set(todo)
    while todo:
        cut = todo.pop(0)
        if cut.moment is Moment.LATE and cut.place in yields:
            missed.append(cut)  # a bare yield: nothing comes that could have come
            continue
        trace = Trace(cut)
        for _ in range(TRIES):
            trace = Trace(cut)
            run(trace)
            runs += 1
            if trace.reached:
                break
        yields |= trace.yields
        if not trace.reached:
            unresolved.append(f"{cut}: not reached in {TRIES} runs")
        elif trace.delivered:
            delivered.append(cut)
        else:
            missed.append(cut)  # it was over, or what it waited for never came
        traces.append(trace)
        # What is waited in after the end is the cleanup, which is not ended again.
        if only is None and not trace.struck:
            fresh = [place for place in trace.places if place not in known]
            if fresh and len(known) >= MOST:
                dropped, fresh = True, []
            known |= dict.fromkeys(fresh)
            more = [one for one in _cuts(fresh, ways) if one not in done]
            done |= {*more}
            todo += more
        # A late end of the context interrupts at the next wait: that is no cleanup yet.
        at_once = cut.moment is Moment.EARLY or cut.means is Means.CANCEL
        if twice and only is None and cut.again is None and trace.struck and at_once:
            # Where one end does harm, two are no news.
            again = [] if trace.problems else trace.cleanup
            todo += [cut._replace(again=place) for place in again]
        trace.places.clear()
    if dropped:
        unresolved.append(f"more than {MOST} places were found; the rest was not tried")
    if only is not None and not delivered and not unresolved:
        unresolved.append(f"{only}: the end could not be delivered there")
    return Report(
        name,
        findings(traces, {one.same for one in base.problems}),
        tuple(one.text for one in base.of(LEAKS)),
        tuple(unresolved),
        tuple(delivered),
        tuple(missed),
        len(known) if only is None else 1,
        runs,
    )


def _cuts(places: Iterable[Place], ways: Ways) -> Iterator[Cut]:
    for moment, means in ways:
        for place in places:
            yield Cut(place, moment, means)


def _engine(one: Case, real_time: bool) -> Callable[[Trace], None]:
    def run(trace: Trace) -> None:
        watch = Watch()
        with watch.hearing():
            watch.begin()
            try:
                try:
                    _once(one, trace, real_time)
                except Deadlock as exc:
                    trace.add(Kind.ENDLESS, f"it waits for ever: {exc}")
                except SystemExit as exc:  # of a task that it has started
                    trace.add(Kind.RAISES, f"it raises SystemExit: {exc}")
                gc.collect()
                trace.left(watch.left())
            finally:
                watch.end()

    return run


def _once(one: Case, trace: Trace, real_time: bool) -> None:
    if not one.is_async:
        _plain.attempt(one, trace)
    elif real_time:
        asyncio.run(attempt(one, trace))
    else:

        async def main(_: Any) -> None:
            await attempt(one, trace)

        _run.run(main)


@contextmanager
def quiet_collector() -> Iterator[None]:
    """What is there before is not gone through at each collection of a run."""
    if gc.get_freeze_count() > FROZEN_BY_PYTHON:
        yield  # the program has seen to it, and its own must not be thawed
        return
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
