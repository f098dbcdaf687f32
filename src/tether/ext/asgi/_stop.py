"""How a service stops: what ends in which order, and what is said of the rest.

Rules

1.  From the first signal on the service is not ready. What listened to that signal
    before (the server) is told of it `drain` seconds later, so that who sends requests
    here has the time to learn of it; SIGINT comes from a person, and is told at once.
2.  Then there are `grace` seconds for all to end by itself: requests, websockets,
    detached work. The server asks for the end of the lifespan when it has none left,
    and until then another one may be on its way.
3.  Then the root of the requests is canceled. From here on they have `hard` seconds
    and detached work has `detached`.
4.  Only then the application hears of the end of its lifespan: not before, although
    servers say so earlier (uvicorn cancels its tasks and does not wait for them), and
    not later, although servers wait for what does not end.
5.  When it has ended its lifespan and something is left, or the server or a thread does
    not let go, the process leaves with the status 128 + n of signal n, as in
    `tether.run`.
6.  A second signal leaves at once. It is not a second one if it only tells again of the
    first: `timeout` and some init programs signal a process and then its group; a
    worker is told by its parent, and by systemd, which tells all there are.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import Protocol, final

from tether import Scope, _left, _where
from tether._errors import LEFT_OVER, SECOND_SIGNAL
from tether._loops import call_soon
from tether._program import GLANCE, is_idle, say, write
from tether.signals import TERMINATING, Handlers, Signaled, name_of, others

PATIENCE = 3.0  # seconds in which a server that has nothing left to do is to say so
ECHO = 0.02  # seconds in which the same signal only tells again
OPEN = "the server, which waits for connections to close"


class Stopping(Protocol):
    """What a stop has to know of its service, and to tell it."""

    drain: float
    grace: float
    hard: float
    detached: float

    def in_flight(self) -> list[str]:
        """One line for each request that is not over."""

    def unready(self) -> None:
        """Called when the stop begins."""

    def ending(self) -> None:
        """Called before the root is canceled."""


@final
class Stop:
    """The end of one lifespan, in the thread of its loop."""

    def __init__(self, service: Stopping, root: Scope) -> None:
        self.over = asyncio.Event()  # the application may end its lifespan
        self.asked = False  # the server wants it to
        self._service = service
        self._root = root
        self._loop = asyncio.get_running_loop()
        self._signum: int | None = None  # of the signal that has begun it
        self._told_at = 0.0
        self._not_ours = {*threading.enumerate()}
        self._handlers = Handlers([], self._told)
        self._since = 0.0
        self._task: asyncio.Task[None] | None = None

    # -- who wants it ------------------------------------------------------------

    def listen(self) -> None:
        """Hear of the signals that a server listens to in this process, before it."""
        if threading.current_thread() is threading.main_thread():
            self._handlers.signals = [one for one in TERMINATING if others(one)]
            self._handlers.set()

    def _told(self, signum: int, frame: FrameType | None) -> None:  # noqa: ARG002
        if self._signum is None:
            self._signum = signum
            self._told_at = time.monotonic()
            call_soon(self._loop, self._begin)
        elif not self._is_an_echo(signum):
            write(SECOND_SIGNAL.format(name=name_of(signum)))
            os._exit(128 + signum)

    def _is_an_echo(self, signum: int) -> bool:
        if signum == signal.SIGTERM and _is_a_worker():
            return True
        return signum == self._signum and time.monotonic() - self._told_at < ECHO

    def ask(self) -> None:
        """The server wants the lifespan to end."""
        self.asked = True
        self._begin()

    def _begin(self) -> None:
        if self._task is None:
            self._since = self._loop.time()
            self._service.unready()
            self._task = self._loop.create_task(self._in_order())

    # -- the order ---------------------------------------------------------------

    async def _in_order(self) -> None:
        try:
            await self._end_the_requests()
        finally:
            self.over.set()

    async def _end_the_requests(self) -> None:
        service = self._service
        cause = None
        signum = self._signum
        if signum is not None:
            cause = Signaled(signum)
            if signum != signal.SIGINT:
                await asyncio.sleep(service.drain)
            self._handlers.before[signum](signum, None)
        await self._until(self._loop.time() + service.grace, self._is_over)
        if lines := self._left():
            say(self._report(lines, "canceling what is left"))
        service.ending()
        self._root.cancel(cause)
        since = self._loop.time()
        await self._until(since + service.hard, lambda: not service.in_flight())
        await self._until(since + service.detached, lambda: not _left.describe())
        if lines := self._left():
            say(self._report(lines, "the lifespan ends without them"))

    def _is_over(self) -> bool:
        return self.asked and not self._left()

    async def _until(self, when: float, condition: Callable[[], bool]) -> None:
        while not condition() and self._loop.time() < when:  # noqa: ASYNC110
            await asyncio.sleep(GLANCE)

    def _left(self) -> list[str]:
        detached = [f"detached {line}" for line in _left.describe()]
        return self._service.in_flight() + detached

    def _report(self, lines: list[str], then: str) -> str:
        return LEFT_OVER.format(
            count=len(lines),
            seconds=self._loop.time() - self._since,
            what=name_of(self._signum) if self._signum else "the server began to stop",
            then=then,
            lines="\n  ".join(lines),
        )

    # -- afterwards --------------------------------------------------------------

    async def finish(self) -> None:
        """The application has ended its lifespan: wait for the server, or leave.

        And for the threads for which the interpreter would wait when the server is gone
        (`asyncio.to_thread` and others), however long they take.
        """
        if self._signum is None:
            return  # nobody has asked the process to leave
        if not self._left():
            patience = self._service.hard + PATIENCE
            await self._until(self._loop.time() + patience, self._lets_go)
        lines = self._left() + self._threads() or ([] if self.asked else [OPEN])
        if lines:
            status = 128 + self._signum
            say(self._report(lines, f"leaving with status {status}"), last=True)
            os._exit(status)

    def _lets_go(self) -> bool:
        return self.asked and not self._threads()

    def _threads(self) -> list[str]:
        return [
            _where.thread(one)
            for one in threading.enumerate()
            if not (one.daemon or one in self._not_ours or is_idle(one))
        ]

    def close(self) -> None:
        """Listen no more; nothing below the root goes on."""
        self._handlers.restore()
        if self._task is not None:
            self._task.cancel()
        self._root.cancel()


def _is_a_worker() -> bool:
    if "gunicorn.workers.base" in sys.modules:
        return True
    return multiprocessing.parent_process() is not None
