"""Threads for blocking work: one at once for each piece, kept for the next.

There is no limit here. A bounded pool, like the default executor of an event loop (six
threads on two cores, 32 at most), is a queue that nobody sees: the time of a request
runs in it, a few abandoned calls that hang take it away from everybody for good, and
work that waits for work behind it in the queue waits for ever. What should be bounded
is bounded where it is visible, by a group or a semaphore, and is then charged to the
context that waits.

The threads are daemons: what was abandoned does not hold up the end of the process.
An idle one is taken last in, first out, so that a quiet program sheds the others.
"""

from __future__ import annotations

import os
from _thread import allocate_lock
from collections import deque
from collections.abc import Callable
from itertools import count
from threading import Thread
from typing import final

from ._errors import report

IDLE = 10.0

Job = Callable[[], object]

_idle: deque[_Worker] = deque()
_workers: set[_Worker] = set()
_number = count(1)


def start(job: Job) -> None:
    """Run `job` now, in a thread that does nothing else meanwhile.

    RuntimeError if the machine has no more threads; then it is not run.
    """
    try:
        worker = _idle.pop()
    except IndexError:
        worker = _Worker(job)
        _workers.add(worker)
        try:
            worker.thread.start()
        except BaseException:
            _workers.discard(worker)
            raise
    else:
        worker.job = job
        worker.wake.release()


def busy() -> list[Thread]:
    """The threads that run a job now."""
    idle = {*_idle}
    return [one.thread for one in [*_workers] if one not in idle]


def idle() -> set[int | None]:
    """The threads that wait for a job."""
    return {one.thread.ident for one in [*_idle]}


@final
class _Worker:
    __slots__ = ("job", "thread", "wake")

    def __init__(self, job: Job) -> None:
        self.job: Job | None = job
        self.wake = allocate_lock()
        self.wake.acquire()
        name = f"tether-{next(_number)}"
        self.thread = Thread(target=self._work, name=name, daemon=True)

    def _work(self) -> None:
        while True:
            job, self.job = self.job, None
            if job is not None:
                try:
                    job()
                except BaseException as exc:
                    report(exc)
                del job  # not kept alive while nobody needs this thread
            _idle.append(self)
            while not self.wake.acquire(True, IDLE):
                try:
                    _idle.remove(self)
                except ValueError:
                    continue  # taken at this very moment; the job is on its way
                _workers.discard(self)
                return


def _forget() -> None:
    """In a forked child the threads are gone."""
    _idle.clear()
    _workers.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
