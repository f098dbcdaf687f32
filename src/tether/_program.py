"""A program that runs: what its signals do, and what ends in which order.

Rules

1.  The first signal cancels the root, and the clock of `drain` starts. The second one
    ends the process. Which one it is, is counted in two ways: by the handler, which the
    main thread runs between two steps of Python, and by the bytes that the C handler
    writes (`signal.set_wakeup_fd`), which a thread of ours reads. The larger count
    holds. So a main thread that is blocked in C is no reason to miss a signal, and an
    event loop that takes the descriptor for itself (uvloop, `add_signal_handler`) is
    none either.
2.  Bytes of signals whose handler is somebody else's (uvicorn's, while it serves) do
    not count: they are his, and he may hand them on to ours later.
3.  When the time is up after a signal, the thread reports what is left and ends the
    process with `os._exit`, whatever the main thread is doing. So nothing in the main
    thread needs a limit of its own then. Without a signal the main thread goes by the
    same limit, reports, and goes on: nobody has asked the process to leave.
4.  What ends in which order: main; what is detached; the other tasks, which are
    canceled; asynchronous generators; the default executor; the threads.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from threading import Thread
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Self, TypeVar, final

from . import _left, _loops, _threads, _to_thread, _where
from ._clock import INF
from ._errors import LEFT_OVER, RUN_IN_RUN, SECOND_SIGNAL, ContextError
from ._loops import Loop, Task
from ._scope import Scope
from .signals import Handlers, Signaled, name_of, refuse_other_threads

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor

T = TypeVar("T")
LoopFactory = Callable[[], Loop]

GLANCE = 0.01
LONG = 3600.0  # what one wait for a socket can take
SAYING = 1.0  # seconds for a report: whoever logs it may be stuck, too

# The program that has the signals.
_listening: Program | None = None


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
        self._signals = signals
        self._signaled: Signaled | None = None
        self._deadline = INF
        self._is_over = False  # main is
        self._loop: Loop | None = None
        self._last: Task | None = None  # which winds up, and is not work left over
        self._tasks: set[Task] = set()  # that were still there when the loop was closed
        self._executor: ThreadPoolExecutor | None = None
        self._not_ours = (
            {*threading.enumerate()},
            {*_to_thread.running()},
            _left.owners(),
        )
        # Counting signals, see rule 1.
        self._lock = threading.RLock()  # the handler may interrupt whoever holds it
        self._handled = self._written = self._count = 0
        self._handlers: Handlers | None = None
        self._pipe: tuple[socket.socket, socket.socket] | None = None
        self._watcher: Thread | None = None
        self._leaving = threading.Lock()

    # -- listening ---------------------------------------------------------------

    def __enter__(self) -> Self:
        if self._signals:
            try:
                self._listen()
            except BaseException:
                self._root.cancel()
                self._deafen()
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
            self._deafen()

    def _listen(self) -> None:
        global _listening
        refuse_other_threads("run", "pass signals=() to run without")
        if _listening is not None:
            raise RuntimeError(RUN_IN_RUN)
        _listening = self
        read, write = self._pipe = socket.socketpair()
        write.setblocking(False)
        before = signal.set_wakeup_fd(write.fileno(), warn_on_full_buffer=False)
        if before != -1:
            signal.set_wakeup_fd(before)  # somebody relies on it; handlers will do
        self._watcher = Thread(
            target=self._watch, args=(read,), name="tether-signals", daemon=True
        )
        self._watcher.start()
        self._handlers = Handlers(self._signals, self._handle)

    def _deafen(self) -> None:
        global _listening
        if _listening is not self:
            return
        if self._handlers is not None:
            self._handlers.restore()
        if self._pipe is not None:
            read, write = self._pipe
            fd = signal.set_wakeup_fd(-1)
            if fd not in {-1, write.fileno()}:
                signal.set_wakeup_fd(fd)
            write.close()
            if self._watcher is not None:
                self._watcher.join()
            read.close()
        _listening = None

    def forked(self) -> None:
        """In a forked child: it is no part of this program, and ends like any other."""
        self._watcher = None
        self._deafen()

    def _handle(self, signum: int, frame: FrameType | None) -> None:  # noqa: ARG002
        self._seen(signum, handled=1)
        assert self._pipe is not None
        try:
            self._pipe[1].send(b"\0")  # for the clock to start
        except OSError:
            return  # full of bytes that wake the thread just as well

    def _watch(self, read: socket.socket) -> None:
        """Read the signals, and end the process when the time after one is up."""
        while True:
            left = self.left()
            if self._signaled is not None and left == 0.0:
                self._leave()
            timed = self._signaled is not None
            read.settimeout(min(left, LONG) if timed else None)
            try:
                numbers = read.recv(64)
            except TimeoutError:
                continue
            if not numbers:
                return
            for signum in numbers:
                handlers = self._handlers  # None: they are being set, and will do
                if signum and handlers is not None and handlers.is_set(signum):
                    self._seen(signum, written=1)

    def _seen(self, signum: int, handled: int = 0, written: int = 0) -> None:
        with self._lock:
            self._handled += handled
            self._written += written
            count = max(self._handled, self._written)
            if count <= self._count:
                return  # the other way was quicker
            self._count = count
            if count == 1:
                self._deadline = time.monotonic() + self._drain
                self._signaled = Signaled(signum)
        if count == 1:
            self._root.cancel(self._signaled)
        else:
            _write(SECOND_SIGNAL.format(name=name_of(signum)))
            os._exit(128 + signum)

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
        with self._lock:
            if self._deadline == INF:
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
            try:
                self._main_is_over()
                loop.run_until_complete(self._wind_up(loop, self._executor))
            finally:
                self._tasks = asyncio.all_tasks(loop) - {self._last}
                self._loop = None
                loop.close()

    async def _interruptible(self, outcome: Awaitable[T]) -> T:
        try:
            with self._root:
                return await outcome
        finally:
            if asyncio.iscoroutine(outcome):
                outcome.close()  # a signal was quicker, and it was never awaited

    # -- afterwards ----------------------------------------------------------------

    async def _wind_up(self, loop: Loop, executor: ThreadPoolExecutor) -> None:
        self._last = asyncio.current_task()
        while self.left() and _left.describe(self._not_ours[2]):
            await asyncio.sleep(GLANCE)  # noqa: ASYNC110 - asked only at the end
        tasks = asyncio.all_tasks(loop) - {self._last}
        for one in tasks:
            one.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=self._timeout())
        for one in tasks:
            _report(loop, one)
        generators = loop.create_task(loop.shutdown_asyncgens())
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
            if self._threads_left() or self._tasks:
                self._leave()
        elif lines := self._lines():
            then = "run() returns without them"
            _say(self._report(lines, f"the end of {self._main}", then))

    def _threads_left(self) -> list[str]:
        """What is at work outside of the event loop, and would be cut off."""
        threads, works, owners = self._not_ours
        lines = []
        known = set(threads)
        for work in _to_thread.running():
            if work in works or not (self._signals or work.is_of(self._loop)):
                continue
            if work.thread is not None:
                known.add(work.thread)
                does = _where.name_of(work.fn) + " (abandoned)" * work.abandoned
                lines.append(_where.thread(work.thread, does))
        stuck = getattr(self._executor, "_threads", ())
        for one in threading.enumerate():
            # Whoever waits for the others when the interpreter ends would wait for it.
            mine = one in stuck or (self._signaled is not None and not one.daemon)
            if mine and one not in known and not _is_idle(one):
                lines.append(_where.thread(one))
        return lines + [f"detached {line}" for line in _left.describe(owners)]

    # -- leaving -------------------------------------------------------------------

    def _leave(self) -> None:
        """Say what is left, and end the process. Does not return."""
        self._leaving.acquire()  # the other thread that comes here waits for the end
        assert self._signaled is not None
        status = 128 + self._signaled.signum
        then = f"leaving with status {status}"
        text = self._report(self._lines(), self._signaled.name, then)
        _say(text, last=True)
        os._exit(status)

    def _lines(self) -> list[str]:
        lines = []
        tasks, loop = self._tasks, self._loop
        if loop is not None:
            tasks = asyncio.all_tasks(loop) - {self._last}
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


def _is_idle(thread: Thread) -> bool:
    """Whether it is a thread of an executor that waits for work."""
    frame = sys._current_frames().get(thread.ident or 0)
    if frame is None:
        return True  # it has ended
    executors = sys.modules.get("concurrent.futures.thread")
    if executors is None or frame.f_code.co_name != "_worker":
        return False
    return frame.f_globals is vars(executors)


def _say(text: str, *, last: bool = False) -> None:
    """Log it, or write it if that does not work out in time."""

    def say() -> None:
        logging.getLogger("tether").error(text)
        if last:
            logging.shutdown()
            sys.stdout.flush()
            sys.stderr.flush()
        said.set()

    said = threading.Event()
    try:
        Thread(target=say, name="tether-report", daemon=True).start()
    except RuntimeError:
        pass  # no more threads to be had
    else:
        said.wait(SAYING)
    if not said.is_set():
        _write(f"{text}\n")


def _write(text: str) -> None:
    try:
        os.write(2, text.encode())
    except OSError:
        pass  # nobody to tell


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=lambda: _listening and _listening.forked())
