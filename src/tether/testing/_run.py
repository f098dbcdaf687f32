"""run(main): an event loop whose time jumps to the next timer when nothing can happen.

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
import time
from asyncio import runners
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor, ProcessPoolExecutor
from inspect import iscoroutinefunction
from threading import get_ident
from typing import Any, TypeVar, TypeVarTuple, final

from .. import _loops, _to_thread, _where, background
from .._checks import callable_, seconds_
from .._context import Context
from ._standing import Standing
from ._virtual import VirtualClock

T = TypeVar("T")
Ts = TypeVarTuple("Ts")
Key = selectors.SelectorKey

GLANCE = 0.0005
LOOPBACK = 0.002  # for what the kernel has taken and not yet delivered
PATIENCE = 10.0  # real seconds without any timer until silence is a deadlock
SPINS = 1000  # turns without a wait
TOIL = 0.5  # real seconds in which threads compute and nothing else happens
CREEP = 0.001


class Deadlock(RuntimeError):
    """Nothing can happen any more: every task waits, and no timer is set.

    The text names the tasks and what they wait in.
    """


def run(
    main: Callable[[Context, *Ts], Coroutine[Any, Any, T]],
    *args: *Ts,
    grace: float = 0.1,
) -> T:
    """What `main(ctx, *args)` returns, on a clock that does not wait.

    Whenever nothing is left to do, the clock jumps to the next timer: a scenario of
    hours takes milliseconds, and its instants are exact. `asyncio.sleep`, `call_later`,
    `asyncio.timeout` and `loop.time()` go by it as contexts do; it starts at 0.

        >>> import asyncio
        >>> from tether import DeadlineExceeded
        >>> from tether.testing import run
        >>> async def main(ctx):
        ...     try:
        ...         with ctx.with_timeout(3600.0):
        ...             await asyncio.sleep(7200.0)
        ...     except DeadlineExceeded:
        ...         return asyncio.get_running_loop().time()
        >>> run(main)
        3600.0

    Threads and real connections take their real time, in which the clock stands.
    `grace` is how many real seconds of silence it takes before it jumps while something
    outside may still answer: make it longer than the slowest answer. `time.sleep` and
    `time.monotonic` go on as they do.

    Raises `Deadlock` when every task waits and no timer is set.
    """
    callable_("run", main)
    if not iscoroutinefunction(main):
        raise TypeError(
            f"testing.run() runs a coroutine function, not {main!r}; "
            "for plain functions: with VirtualClock() as clock"
        )
    if _loops.running_loop() is not None:
        raise RuntimeError("testing.run() starts a loop of its own; one runs here")
    if not seconds_("grace", grace) >= 0.0:
        raise ValueError(f"grace is 0 or more seconds, not {grace!r}")
    with VirtualClock() as clock:
        loop = _Loop(clock, grace)
        try:
            return loop.run_until_complete(_main(main, args))
        finally:
            try:
                loop.end()
            finally:
                loop.close()


async def _main(
    main: Callable[[Context, *Ts], Coroutine[Any, Any, T]], args: tuple[*Ts]
) -> T:
    with background().with_cancel() as ctx:
        return await main(ctx, *args)


@final
class _Selector(selectors.DefaultSelector):
    """Asks the loop instead of waiting."""

    loop: _Loop | None = None

    def select(self, timeout: float | None = None) -> list[tuple[Key, int]]:
        if self.loop is None:
            return super().select(timeout)
        return self.loop.idle(timeout)

    def really(self, timeout: float) -> list[tuple[Key, int]]:
        return super().select(timeout)


@final
class _Loop(asyncio.SelectorEventLoop):
    """See the top of the file."""

    def __init__(self, clock: VirtualClock, grace: float) -> None:
        self._virtual = clock
        self._grace = grace
        self._spins = 0
        self._toil: float | None = None  # since when threads compute
        # Work in executors: which thread runs it; 0 not yet; None: another process.
        self._handed: dict[asyncio.Future[Any], list[int | None]] = {}
        self._fds = _Selector()
        super().__init__(self._fds)
        self._own = {*self._fds.get_map()}
        self._fds.loop = self

    def time(self) -> float:
        return self._virtual.now()

    def end(self) -> None:
        """Cancel what main has left, as asyncio.run does, still on this clock."""
        # By name, as a leak check may have taken its place.
        runners._cancel_all_tasks(self)  # type: ignore[attr-defined]
        self.run_until_complete(self.shutdown_asyncgens())
        # Joins threads, which takes real time, and counts it.
        self._fds.loop = None
        self.time = time.monotonic  # type: ignore[method-assign]
        self.run_until_complete(self.shutdown_default_executor())

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
                self._virtual._step(self.time() + CREEP)
            return events
        self._spins = 0
        began = quiet = time.monotonic()
        while True:
            standing = self._virtual._standing()
            events = self._fds.really(0.0)  # after the look: who ended has told us
            if events:
                return events
            now = time.monotonic()
            when = self._when()
            if Standing.RUNNING in standing.values():
                quiet = now
                if self._toil is None:
                    self._toil = now
                elif now - self._toil > TOIL:
                    self._toil += CREEP
                    self._virtual._step(self.time() + CREEP)
                    return []
            else:
                self._toil = None
                if not self._is_awaited(standing):
                    needed = self._needed(standing)
                    if when is None and needed:
                        needed = max(needed, PATIENCE)
                    if now - quiet >= needed:
                        if when is None:
                            raise self._deadlock()
                        self._virtual._step(when)
                        return []
                else:
                    quiet = now
            events = self._fds.really(GLANCE if now - began < 0.1 else 4 * GLANCE)
            if events:
                return events

    def _when(self) -> float | None:
        """The next instant at which a timer is due."""
        timers: list[asyncio.TimerHandle] = self._scheduled  # type: ignore[attr-defined]
        due = [timers[0].when()] if timers else []
        theirs = self._virtual._next()
        if theirs is not None:
            due.append(theirs)
        return min(due, default=None)

    def _is_awaited(self, standing: dict[int, Standing]) -> bool:
        """Whether something that a task has handed over waits for the outside."""
        for (ran,) in self._handed.values():
            if ran is None or standing.get(ran) is Standing.OUTSIDE:
                return True
        return any(
            work.thread is not None
            and standing.get(work.thread.ident or 0) is Standing.OUTSIDE
            for work in _to_thread.running()
        )

    def _needed(self, standing: dict[int, Standing]) -> float:
        """The real seconds of silence after which nothing is on its way."""
        if Standing.OUTSIDE in standing.values():
            return self._grace
        known = self._fds.get_map().keys() - self._own
        if not known:
            return 0.0
        ends = set()
        others = set()
        for file in known:
            try:
                fd = file if isinstance(file, int) else file.fileno()
                with socket.socket(fileno=os.dup(fd)) as one:
                    if one.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                        continue
                    here, there = one.getsockname(), one.getpeername()
                    if _unsent(one):
                        return self._grace  # the other end's window is full, perhaps
            except OSError:
                return self._grace  # not a socket, or not connected yet
            if not here or not there:
                return self._grace  # a pair without names
            ends.add((here, there))
            others.add((there, here))
        return LOOPBACK if ends == others else self._grace

    def _deadlock(self) -> Deadlock:
        tasks = sorted(_where.task(one) for one in asyncio.all_tasks(self))
        return Deadlock(
            f"at {self.time():.6g} s everything waits and no timer is set:\n  "
            + "\n  ".join(tasks)
        )


def _unsent(one: socket.socket) -> bool:
    """Whether the kernel has bytes of it that the other end has not confirmed."""
    try:
        from fcntl import ioctl
        from termios import TIOCOUTQ
    except ImportError:  # Windows
        return False
    return ioctl(one, TIOCOUTQ, bytes(4)) != bytes(4)
