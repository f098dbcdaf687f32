"""The threads that run callbacks, so that no event loop and no cancel() has to.

It grows: at once up to EAGER threads, and beyond that whenever nothing has moved for
STALL seconds while work is queued, twice as many each time. So a callback that blocks
never holds up another for long, and a hundred thousand short ones do not start a
hundred thousand threads. Idle threads leave after IDLE seconds.

submit() is called by cancel(), hence from signal handlers and finalizers that have
interrupted this very code: there is no lock. Work and parked threads are deques, whose
single operations are atomic; a worker looks at the work again after it has put itself
among the parked, and a submitter looks for parked workers after it has queued the work,
so one of the two sees the other. Threads are started below `threading`, which holds
locks of its own, and are daemons: they never delay the end of the process.
"""

from __future__ import annotations

import os
import time
from _thread import get_ident, start_new_thread
from collections import deque
from collections.abc import Callable, Iterable
from contextvars import Context as Variables

from ._clock import Parker
from ._errors import report

EAGER = 8
STALL = 0.002
IDLE = 10.0

Job = Callable[[], object]

_jobs: deque[tuple[Job]] = deque()  # in cells: the same job twice is two entries
_parked: deque[Parker] = deque()
_workers: set[object] = set()
_idents: set[int] = set()
_running: set[int] = set()
_watched = False


def submit(jobs: Iterable[Job]) -> None:
    """Run each of these functions once, soon, each in a thread of the pool."""
    cells = [(job,) for job in jobs]
    _jobs.extend(cells)
    for _ in range(min(len(cells), EAGER)):
        if not _wake_one():
            break


def busy() -> set[int]:
    """The threads that run a job now, and a 0 if any job is still queued."""
    return {0, *_running} if _jobs else {*_running}


def idle() -> set[int]:
    """The threads of the pool that wait for work."""
    return {*_idents} - _running


def _wake_one() -> bool:
    """Give the work another thread; False if there are enough for the moment."""
    global _watched
    try:
        _parked.popleft().unpark()
    except IndexError:
        if len(_workers) < EAGER:
            _start()
        elif not _watched:
            _watched = True
            try:
                start_new_thread(_watch, ())
            except RuntimeError:
                _watched = False  # as in _start
            return False
    return True


def _start() -> None:
    me = object()
    _workers.add(me)
    try:
        start_new_thread(_work, (me,))
    except RuntimeError:
        # No more threads to be had: those there are will come to it. With none at
        # all the work waits for the next submit.
        _workers.discard(me)


def _work(me: object) -> None:
    ident = get_ident()
    _idents.add(ident)
    while True:
        _running.add(ident)  # before the look, so that no job is ever unaccounted for
        try:
            (job,) = _jobs.popleft()
        except IndexError:
            _running.discard(ident)
            if _park():
                continue
            _idents.discard(ident)
            _workers.discard(me)
            if _jobs:  # queued while this thread was on its way out
                _wake_one()
            return
        if _jobs:
            _wake_one()
        try:
            Variables().run(job)  # what one sets is not seen by the next
        except BaseException as exc:
            report(exc)
        finally:
            del job
            _running.discard(ident)


def _park() -> bool:
    """Wait for work; False when none came for so long that this thread may end."""
    parker = Parker()
    _parked.append(parker)
    if _jobs:
        parker.unpark()
    parker.block(IDLE)
    if not parker.unparked:
        try:
            _parked.remove(parker)
        except ValueError:
            # Taken by a submitter at this very moment, who counts on us.
            parker.block()
            return True
        return False
    try:
        _parked.remove(parker)  # woken by the look above, not by a submitter
    except ValueError:
        pass  # the submitter took it out
    return True


def _watch() -> None:
    """Start more threads for as long as queued work does not move."""
    global _watched
    more = 1
    while (head := _head()) is not None:
        time.sleep(STALL)
        if _head() is head:
            for _ in range(min(more, len(_jobs))):
                _start()
            more *= 2
    _watched = False
    if _jobs:
        _wake_one()


def _head() -> tuple[Job] | None:
    try:
        return _jobs[0]
    except IndexError:
        return None


def _forget() -> None:
    """In a forked child the threads are gone, and the parent runs what was queued."""
    global _watched
    _jobs.clear()
    _parked.clear()
    _workers.clear()
    _idents.clear()
    _running.clear()
    _watched = False


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
