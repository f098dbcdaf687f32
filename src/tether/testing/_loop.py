"""An event loop whose time jumps to the next timer when nothing can happen.

When is nothing to happen? The loop has nothing ready, no descriptor is readable, and

- no thread goes on by itself (see `_standing`): those that wait in tether, or for a
  lock, do not; a thread in the middle of something does;
- no work that a task has handed to a thread (`to_thread`, `run_in_executor`) waits for
  something outside: a query is answered in real time, and the clock stands;
- nothing is on its way from outside. Between two sockets that are both this loop's
  nothing can hide: what was sent is readable at the other end. Of a connection to
  somebody else, a pipe, a child process, a thread that serves a socket, nobody can know
  whether an answer is coming: there it takes `grace` real seconds without any.

Then the clock moves to the nearest timer, of asyncio or of tether. If there is none the
tasks wait for each other: `Deadlock`.

A task that spins (`while True: await sleep(0)`) and a thread that computes until its
deadline would hold the clock for ever, so it creeps on after a while.
"""

from __future__ import annotations

import asyncio
import os
import selectors
import socket
from collections.abc import Callable
from concurrent.futures import Executor, ProcessPoolExecutor
from threading import enumerate as all_threads
from threading import get_ident
from time import monotonic  # the real one: a bubble replaces time.monotonic
from typing import Any, final

from .. import _to_thread
from .._clock import INF
from ._pace import CREEP, Move, Pace, deadlock, needed_for, spinning, who
from ._standing import Standing
from ._virtual import VirtualClock

Key = selectors.SelectorKey

GLANCE = 0.0005
LOOPBACK = 0.002  # for what the kernel has taken and not yet delivered
SPINS = 1000  # turns without a wait


@final
class _Selector(selectors.DefaultSelector):
    """Asks the loop instead of waiting."""

    loop: Loop | None = None

    def select(self, timeout: float | None = None) -> list[tuple[Key, int]]:
        if self.loop is None:
            return super().select(timeout)
        return self.loop.idle(timeout)

    def really(self, timeout: float) -> list[tuple[Key, int]]:
        return super().select(timeout)


class Loop(asyncio.SelectorEventLoop):
    """See the top of the file."""

    def __init__(self, clock: VirtualClock, pace: Pace) -> None:
        self._virtual = clock
        self._pace = pace
        self._quiet: list[asyncio.Future[None]] = []  # those who wait for the others
        self._spins = 0
        self._is_stuck = False
        self._is_ending = False
        # Work in executors: which thread runs it; 0 not yet; None: another process.
        self._handed: dict[asyncio.Future[Any], list[int | None]] = {}
        self._fds = _Selector()
        super().__init__(self._fds)
        self._own = {*self._fds.get_map()}
        self._fds.loop = self

    def time(self) -> float:
        return self._virtual.now()

    async def quiet(self) -> None:
        """Wait until nothing else can happen before the clock moves."""
        future = self.create_future()
        self._quiet.append(future)
        await future

    async def shutdown_default_executor(self, *limit: float | None) -> None:
        """As ever, and what its threads wait for takes its real time.

        After a deadlock there is no use in waiting for them.
        """
        self._is_ending = True
        executor: Executor | None = self._default_executor  # type: ignore[has-type]
        if self._is_stuck and executor is not None:
            executor.shutdown(wait=False)
            self._default_executor = None
        await super().shutdown_default_executor(*limit)

    def run_in_executor(  # type: ignore[override]
        self, executor: Executor | None, func: Callable[..., Any], *args: Any
    ) -> asyncio.Future[Any]:
        """As ever, and the work is known until the loop has seen its end."""
        ran: list[int | None] = [0]
        if isinstance(executor, ProcessPoolExecutor):
            ran[0] = None
            future = super().run_in_executor(executor, func, *args)
        else:

            def call() -> Any:
                ran[0] = get_ident()
                return func(*args)

            future = super().run_in_executor(executor, call)
        self._handed[future] = ran
        future.add_done_callback(self._handed.pop)
        return future

    # -- idle ----------------------------------------------------------------------

    def idle(self, timeout: float | None) -> list[tuple[Key, int]]:
        """What the selector of a loop returns; moves the clock if nothing happens."""
        events = self._fds.really(0.0)
        if events or (timeout is not None and timeout <= 0.0):
            self._spins += 1
            if self._spins > SPINS:
                if self._pace.is_over():
                    self._give_up()
                    raise spinning(self.time(), self._pace.patience, self.who())
                self._virtual._step(self.time() + CREEP)
            return events
        if self._spins:
            self._spins = 0
            self._pace.rested()
        self._pace.begin()
        return self._wait()

    def _wait(self) -> list[tuple[Key, int]]:
        began = monotonic()
        while True:
            standing = self._virtual._standing()
            events = self._fds.really(0.0)  # after the look: who ended has told us
            if events:
                return events
            when = self._when()

            def needed(standing: dict[int, Standing] = standing) -> float:
                return self._needed(standing)

            read = self._virtual._read()
            move = self._pace.look(standing.values(), needed, read=read)
            if move is Move.CREEP:
                self._virtual._step(self.time() + self._pace.creep)
                return []
            if move is Move.JUMP:
                if self._told_quiet():
                    return []
                if when is None:
                    self._give_up()
                    raise deadlock(self.time(), self.who())
                self._jump(when)
                return []
            if Standing.RUNNING in standing.values() and self._pace.is_over():
                self._give_up()
                raise spinning(self.time(), self._pace.patience, self.who())
            events = self._fds.really(
                GLANCE if monotonic() - began < 0.1 else 4 * GLANCE
            )
            if events:
                return events

    def _give_up(self) -> None:
        self._is_stuck = True

    def _told_quiet(self) -> bool:
        """Tell those who wait for it that nothing goes on; whether there are any."""
        waiting = [one for one in self._quiet if not one.done()]
        self._quiet.clear()
        for one in waiting:
            one.set_result(None)
        return bool(waiting)

    def _jump(self, when: float) -> None:
        self._virtual._step(when)

    def who(self) -> list[str]:
        """The tasks, and the threads that came up since the clock was entered."""
        known = self._virtual._known
        return who([self], [one for one in all_threads() if one not in known])

    def _when(self) -> float | None:
        """The next instant at which a timer is due."""
        due = [self.due(), self._virtual._next()]
        return min((one for one in due if one is not None), default=None)

    def due(self) -> float | None:
        """The next instant at which one of asyncio's is."""
        timers: list[asyncio.TimerHandle] = self._scheduled  # type: ignore[attr-defined]
        return timers[0].when() if timers else None

    def _needed(self, standing: dict[int, Standing]) -> float:
        """The real seconds of silence after which nothing is on its way."""
        if self._is_awaited(standing):
            return INF
        timer = self._is_asked() or self._when() is not None
        grace = self._pace.grace
        threads = needed_for(standing.values(), grace, timer=timer)
        if threads:
            return threads
        silence = self._silence()
        if not silence or timer:
            return silence
        return needed_for([Standing.OUTSIDE], grace, timer=False)

    def _is_asked(self) -> bool:
        """Whether somebody waits until nothing goes on."""
        return bool(self._quiet)

    def _is_awaited(self, standing: dict[int, Standing]) -> bool:
        """Whether something that a task has handed over waits for the outside."""
        if self._is_ending and Standing.OUTSIDE in standing.values():
            return True
        for ran in self.handed():
            if ran is None or standing.get(ran) is Standing.OUTSIDE:
                return True
        return any(
            work.thread is not None
            and standing.get(work.thread.ident or 0) is Standing.OUTSIDE
            for work in _to_thread.running()
        )

    def handed(self) -> list[int | None]:
        """The threads that run what was handed to executors."""
        return [ran for (ran,) in [*self._handed.values()]]

    def files(self) -> set[Any]:
        """The descriptors that somebody else than the loop itself waits for."""
        return {*self._fds.get_map()} - self._own

    def _silence(self) -> float:
        """The same for what may come to the descriptors of the loop."""
        known = self.files()
        if not known:
            return 0.0
        grace = self._pace.grace
        ends = set()
        others = set()
        for file in known:
            try:
                fd = file if isinstance(file, int) else file.fileno()
                with _copy(fd) as one:
                    if one.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                        continue
                    here, there = one.getsockname(), one.getpeername()
                    if _unsent(one):
                        return grace  # the other end's window is full, perhaps
            except OSError:
                return grace  # not a socket, or not connected yet
            if not here or not there:
                return grace  # a pair without names
            ends.add((here, there))
            others.add((there, here))
        return LOOPBACK if ends == others else grace


def _copy(fd: int) -> socket.socket:
    """A socket of its own for this descriptor; OSError if that is none."""
    copy = os.dup(fd)
    try:
        return socket.socket(fileno=copy)
    except OSError:
        os.close(copy)  # which is not done for what is no socket
        raise


def _unsent(one: socket.socket) -> bool:
    """Whether the kernel has bytes of it that the other end has not confirmed."""
    try:
        from fcntl import ioctl
        from termios import TIOCOUTQ
    except ImportError:  # Windows
        return False
    return ioctl(one, TIOCOUTQ, bytes(4)) != bytes(4)
