"""A program that runs: what its signals do, and what ends in which order.

Rules

1.  The first signal cancels the root, and the clock of `drain` starts. The second one
    ends the process.
2.  When the time is up after a signal, the thread of the listener reports what is left
    and ends the process with `os._exit`, whatever the main thread is doing. The main
    thread looks at the same clock; if it is the first to see that the time is up, it
    does the same, before it cancels anything. Without a signal it reports, and goes on:
    nobody has asked the process to leave.
3.  What ends in which order: main; what is detached; the other tasks, which are
    canceled; asynchronous generators; the default executor; the threads.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from threading import Thread
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Self, TypeVar, final

from . import _left, _loops, _threads, _to_thread, _where
from ._clock import INF
from ._errors import LEFT_OVER, SECOND_SIGNAL, ContextError
from ._listener import Listener
from ._loops import Loop, Task
from ._scope import Scope
from .signals import Signaled, name_of

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor

T = TypeVar("T")
LoopFactory = Callable[[], Loop]

GLANCE = 0.01
SAYING = 1.0  # seconds for a report: whoever logs it may be stuck, too


@final
class Program:
    """One `run`, from the setting of its handlers to the end of its last thread."""

    def __init__(
        self,
        main: Callable[..., object],
        root: Scope,
        drain: float,
        signals: list[int],
    ) -> None:
        self._main = _where.name_of(main)
        self._root = root
        self._drain = drain
        self._signaled: Signaled | None = None
        self._deadline = INF
        self._is_over = False  # main is
        self._loop: Loop | None = None
        self._own: set[Task] = set()  # which wind up, and are not work left over
        self._tasks: set[Task] = set()  # that were still there when the loop was closed
        self._cut: list[str] = []  # detached work that the time was not enough for
        self._executor: ThreadPoolExecutor | None = None
        self._not_ours = (
            {*threading.enumerate()},
            {*_to_thread.running()},
            _left.owners(),
        )
        self._listener = (
            Listener(signals, self._told, self._overdue) if signals else None
        )
        self._leaving = threading.Lock()

    # -- the signals -------------------------------------------------------------

    def __enter__(self) -> Self:
        if self._listener is not None:
            try:
                self._listener.start()
            except BaseException:
                self._root.cancel()
                raise
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        try:
            self._main_is_over()
            self._wait_for_threads()
        finally:
            if self._listener is not None:
                self._listener.stop()

    def _told(self, signum: int, count: int) -> None:
        if count > 1:
            write(SECOND_SIGNAL.format(name=name_of(signum)))
            os._exit(128 + signum)
        signaled = Signaled(signum)
        self._deadline = time.monotonic() + self._drain
        self._signaled = signaled
        self._root.cancel(signaled)

    def _overdue(self) -> float | None:
        if self._signaled is None:
            return None
        if self.left() == 0.0:
            self._leave()
        return self.left()

    # -- the time ----------------------------------------------------------------

    def left(self) -> float:
        """The seconds until what still runs is left behind."""
        return max(0.0, self._deadline - time.monotonic())

    def _timeout(self) -> float | None:
        left = self.left()
        return None if left == INF else left

    def _main_is_over(self) -> None:
        self._is_over = True
        self._root.cancel()
        if self._signaled is None:
            self._deadline = time.monotonic() + self._drain

    # -- the main function ---------------------------------------------------------

    def in_place_of(self, exc: BaseException) -> BaseException:
        """What run raises for what came out of main."""
        signaled = self._signaled
        if signaled is None or not all(
            isinstance(one, ContextError)
            and one.ctx is not None
            and one.ctx.cause() is signaled
            for one in _leaves(exc)
        ):
            return exc
        if signaled.signum == signal.SIGINT:
            return KeyboardInterrupt()
        return SystemExit(128 + signaled.signum)

    def on_a_loop(
        self, outcome: Awaitable[T], loop_factory: LoopFactory | None = None
    ) -> T:
        """Await what main has returned, and wind up what it leaves on the loop."""
        main = self._interruptible(outcome)
        try:
            loop = self._loop = (loop_factory or asyncio.new_event_loop)()
        except BaseException:
            main.close()
            if asyncio.iscoroutine(outcome):
                outcome.close()
            raise
        from concurrent.futures import ThreadPoolExecutor

        # Ours, because that of the loop cannot be shut down within a time (3.11), and
        # holds up the interpreter even so.
        self._executor = ThreadPoolExecutor(thread_name_prefix="asyncio")
        loop.set_default_executor(self._executor)
        try:
            return loop.run_until_complete(main)
        finally:
            if self._listener is not None:
                self._listener.give_back()  # main may have been left in the middle
            try:
                self._main_is_over()
                loop.run_until_complete(self._wind_up(loop, self._executor))
            finally:
                self._tasks = asyncio.all_tasks(loop) - self._own
                self._loop = None
                loop.close()

    async def _interruptible(self, outcome: Awaitable[T]) -> T:
        try:
            with self._root:
                if self._listener is not None:
                    self._listener.take_over()
                return await outcome
        finally:
            if self._listener is not None:
                self._listener.give_back()
            if asyncio.iscoroutine(outcome):
                outcome.close()  # a signal was quicker, and it was never awaited

    # -- afterwards ----------------------------------------------------------------

    async def _wind_up(self, loop: Loop, executor: ThreadPoolExecutor) -> None:
        me = asyncio.current_task()
        assert me is not None
        self._own.add(me)
        while self.left() and _left.describe(self._not_ours[2]):  # noqa: ASYNC110
            await asyncio.sleep(GLANCE)
        # Its tasks are canceled now, and would not be found afterwards.
        self._cut = _left.describe(self._not_ours[2])
        if self._cut and self._signaled is not None:
            self._leave()  # quicker than the listener: what is left is still whole
        tasks = asyncio.all_tasks(loop) - self._own
        for one in tasks:
            one.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=self._timeout())
        for one in tasks:
            _report(loop, one)
        generators = loop.create_task(loop.shutdown_asyncgens())
        self._own.add(generators)
        await asyncio.wait({generators}, timeout=self._timeout())
        ended = loop.create_future()

        def shut_down() -> None:
            executor.shutdown(wait=True)
            _loops.call_soon(loop, tell)

        def tell() -> None:
            if not ended.done():
                ended.set_result(None)

        _threads.start(shut_down)
        await asyncio.wait({ended}, timeout=self._timeout())

    def _wait_for_threads(self) -> None:
        while self.left() and self._threads_left():
            time.sleep(GLANCE)
        if self._signaled is not None:
            if self._threads_left() or self._tasks or self._cut:
                self._leave()
        elif lines := self._lines():
            then = "run() returns without them"
            say(self._report(lines, f"the end of {self._main}", then))

    def _threads_left(self) -> list[str]:
        """What is at work outside of the event loop, and would be cut off."""
        threads, works, owners = self._not_ours
        lines = []
        known = set(threads)
        for work in _to_thread.running():
            if work in works or not (self._listener or work.is_of(self._loop)):
                continue
            if work.thread is not None:
                known.add(work.thread)
                does = _where.name_of(work.fn) + " (abandoned)" * work.is_abandoned()
                lines.append(_where.thread(work.thread, does))
        stuck = getattr(self._executor, "_threads", ())
        for one in threading.enumerate():
            # Whoever waits for the others when the interpreter ends would wait for it.
            mine = one in stuck or (self._signaled is not None and not one.daemon)
            if mine and one not in known and not is_idle(one):
                lines.append(_where.thread(one))
        detached = dict.fromkeys([*self._cut, *_left.describe(owners)])
        return lines + [f"detached {line}" for line in detached]

    # -- leaving -------------------------------------------------------------------

    def _leave(self) -> None:
        """Say what is left, and end the process. Does not return."""
        self._leaving.acquire()  # the other thread that comes here waits for the end
        assert self._signaled is not None
        status = 128 + self._signaled.signum
        then = f"leaving with status {status}"
        text = self._report(self._lines(), self._signaled.name, then)
        say(text, last=True)
        os._exit(status)

    def _lines(self) -> list[str]:
        lines = []
        tasks, loop = self._tasks, self._loop
        if loop is not None:
            tasks = asyncio.all_tasks(loop) - self._own
            runs = _loops.task_of(loop)
            if runs is not None and runs in tasks:
                tasks -= {runs}
                lines.append(_where.running(runs, threading.main_thread()))
        elif not self._is_over:
            lines.append(_where.thread(threading.main_thread(), self._main))
        lines += sorted(_where.task(one) for one in tasks if not one.done())
        return lines + self._threads_left()

    def _report(self, lines: list[str], what: str, then: str) -> str:
        return LEFT_OVER.format(
            count=len(lines),
            seconds=self._drain,
            what=what,
            then=then,
            lines="\n  ".join(lines),
        )


def _leaves(exc: BaseException) -> Iterator[BaseException]:
    if isinstance(exc, BaseExceptionGroup):
        for one in exc.exceptions:
            yield from _leaves(one)
    else:
        yield exc


def _report(loop: Loop, one: Task) -> None:
    """Hand on the error of a task that nobody awaits any more, as asyncio.run does."""
    if not one.done() or one.cancelled():
        return
    error = one.exception()
    if error is not None and not isinstance(error, ContextError):
        loop.call_exception_handler(
            {
                "message": "unhandled exception during the shutdown of tether.run()",
                "exception": error,
                "task": one,
            }
        )


def is_idle(thread: Thread) -> bool:
    """Whether it is a thread of an executor, or of anyio, that waits for work."""
    frame = sys._current_frames().get(thread.ident or 0)
    if frame is None:
        return True  # it has ended
    executors = sys.modules.get("concurrent.futures.thread")
    if executors is not None and frame.f_globals is vars(executors):
        return frame.f_code.co_name == "_worker"
    below: FrameType | None = frame
    while below is not None and below.f_globals.get("__name__") in _QUEUES:
        below = below.f_back
    if below is None or below is frame:
        return False
    return below.f_globals.get("__name__") == "anyio._backends._asyncio"


_QUEUES = {"queue", "threading"}


def say(text: str, *, last: bool = False) -> None:
    """Log it, or write it if that does not work out in time."""

    def log() -> None:
        logging.getLogger("tether").error(text)
        if last:
            logging.shutdown()
            sys.stdout.flush()
            sys.stderr.flush()
        said.set()

    said = threading.Event()
    try:
        Thread(target=log, name="tether-report", daemon=True).start()
    except RuntimeError:
        pass  # no more threads to be had
    else:
        said.wait(SAYING)
    if not said.is_set():
        write(f"{text}\n")


def write(text: str) -> None:
    try:
        os.write(2, text.encode())
    except OSError:
        pass  # nobody to tell
