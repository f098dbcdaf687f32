"""One process from its start until it is gone: its pipes, its end."""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
import time
from collections.abc import Callable
from typing import IO, Any, Final, Self, final

from tether import Context

from ._group import ProcessGroup

AFTER_KILL: Final = 5.0  # a process that is still there then waits in the kernel
LONGEST_PAUSE: Final = 0.005
PIECE: Final = 65536
FULL_PIPE: Final = 1 << 20  # no pipe holds more, unless root has made it so


class Ended(subprocess.CalledProcessError):
    """A process that was ended because its context was over.

    It is the `__cause__` of the context's error and has `cmd`, `returncode` (-15 for
    SIGTERM; None if it could not be ended) and, of what was captured, `stdout` and
    `stderr` until then. In a task that is interrupted by a block of its own the error
    comes at the exit of that block, and `Ended.of(error)` finds it.
    """

    def __str__(self) -> str:
        code: int | None = self.returncode
        if code is None:
            how = "it has not gone yet"
        elif code < 0:
            how = f"by {_name_of(-code)}"
        else:
            how = f"exit status {code}"
        return f"command {self.cmd!r} was ended with its context: {how}"

    @classmethod
    def of(cls, error: BaseException) -> Self | None:
        """The one that has led to this error; None if there is none."""
        seen: set[int] = set()
        todo: list[BaseException | None] = [error]
        while todo:
            one = todo.pop()
            if one is None or id(one) in seen:
                continue
            if isinstance(one, cls):
                return one
            seen.add(id(one))
            todo += (one.__context__, one.__cause__)
        return None


def _name_of(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


@final
class Process:
    """A process that has been started; for one thread."""

    def __init__(self, data: bytes | None, grace: float) -> None:
        self._grace = grace
        self._to_write = memoryview(data or b"")
        self._selector = selectors.DefaultSelector()  # before there is a process
        self._read: dict[IO[bytes], bytearray] = {}
        self._open: set[IO[bytes]] = set()  # what is still to be read

    def start(self, cmd: Any, options: dict[str, Any]) -> None:
        """Start it; `complete` is for the rest."""
        try:
            popen = subprocess.Popen(cmd, start_new_session=True, **options)  # noqa: S603
        except BaseException:
            self._selector.close()
            raise
        self._group = ProcessGroup(popen)
        self._stdin, self._stdout, self._stderr = (
            popen.stdin,
            popen.stdout,
            popen.stderr,
        )

    @property
    def stdout(self) -> bytes | None:
        """What has been read of it; None if it is not captured."""
        return None if self._stdout is None else bytes(self._read[self._stdout])

    @property
    def stderr(self) -> bytes | None:
        """The same."""
        return None if self._stderr is None else bytes(self._read[self._stderr])

    @property
    def returncode(self) -> int | None:
        """The exit status; None if it has not ended."""
        return self._group.reap()

    def complete(self, ctx: Context) -> bool:
        """Wait until it is gone; whether it has ended by itself, within `ctx`.

        Nothing is left of it afterwards, whatever is raised.
        """
        try:
            try:
                by_itself = self._wait(ctx)
            except BaseException:  # KeyboardInterrupt
                self._end()
                raise
            if by_itself:
                self._group.reap()  # then it costs one call to see that it was alone
            if not self._group.is_over():
                self._end()
            return by_itself
        finally:
            self._close()

    # -- until it ends -----------------------------------------------------------

    def _wait(self, ctx: Context) -> bool:
        group = self._group
        self._watch_pipes()
        told = self._selector.register(ctx.fileno(), selectors.EVENT_READ)
        if group.pidfd is not None:
            self._selector.register(group.pidfd, selectors.EVENT_READ)
        pause = 0.001
        while not ctx.done():
            ended = group.leader_has_ended()
            if ended:
                self._stop_watching(group.pidfd)
                if not self._open:
                    return True
            if ended or group.pidfd is not None:
                self._turn(None)
            else:
                self._turn(pause)
                pause = min(pause * 2, LONGEST_PAUSE)
        self._stop_watching(told.fd)
        if not group.leader_has_ended():
            return False
        self._drain()
        return not self._open

    def _turn(self, timeout: float | None) -> None:
        """Wait for something to happen, and do what there is to be done."""
        for key, _ in self._selector.select(timeout):
            if key.data is not None:
                key.data(key.fileobj)

    # -- ending it ---------------------------------------------------------------

    def _end(self) -> None:
        over = False
        if self._grace > 0:
            self._group.signal(signal.SIGTERM)
            over = self._until_over(self._grace)
        if not over:
            self._group.signal(signal.SIGKILL)
            self._until_over(AFTER_KILL)
        self._drain()

    def _until_over(self, seconds: float) -> bool:
        """Whether the group is over in so many seconds; its last words are read."""
        group = self._group
        until = time.monotonic() + seconds
        pause = 0.0005
        while not group.is_over():
            left = until - time.monotonic()
            if left <= 0:
                return False
            if group.pidfd is None or group.leader_has_ended():
                self._stop_watching(group.pidfd)
                pause = min(pause * 2, LONGEST_PAUSE)
                left = min(left, pause)
            self._turn(left)
        return True

    # -- pipes -------------------------------------------------------------------

    def _watch_pipes(self) -> None:
        for pipe in (self._stdout, self._stderr):
            if pipe is not None:
                self._read[pipe] = bytearray()
                self._open.add(pipe)
                self._watch(pipe, selectors.EVENT_READ, self._take)
        if self._stdin is not None:
            self._watch(self._stdin, selectors.EVENT_WRITE, self._give)

    def _watch(
        self, pipe: IO[bytes], event: int, do: Callable[[IO[bytes]], object]
    ) -> None:
        os.set_blocking(pipe.fileno(), False)
        self._selector.register(pipe, event, do)

    def _stop_watching(self, what: Any) -> None:
        try:
            self._selector.unregister(what)
        except (KeyError, ValueError):
            pass  # not watched, or not any more

    def _take(self, pipe: IO[bytes]) -> int:
        """Read what is there; how much that was."""
        try:
            piece = os.read(pipe.fileno(), PIECE)
        except BlockingIOError:
            return 0
        self._read[pipe] += piece
        if not piece:
            self._open.discard(pipe)
            self._shut(pipe)
        return len(piece)

    def _give(self, pipe: IO[bytes]) -> None:
        try:
            sent = os.write(pipe.fileno(), self._to_write[:PIECE])
        except BlockingIOError:
            return
        except BrokenPipeError:
            sent = len(self._to_write)  # it does not want to know
        self._to_write = self._to_write[sent:]
        if not self._to_write:
            self._shut(pipe)

    def _drain(self) -> None:
        """Read what is in the pipes, and wait for nothing."""
        for pipe in [*self._open]:
            taken = 0
            while taken < FULL_PIPE and (piece := self._take(pipe)):
                taken += piece

    def _shut(self, pipe: IO[bytes]) -> None:
        self._stop_watching(pipe)
        pipe.close()

    def _close(self) -> None:
        for pipe in (self._stdin, self._stdout, self._stderr):
            if pipe is not None:
                self._shut(pipe)
        self._selector.close()
        self._group.reap()  # so it costs one call to see that nobody is left
        if not self._group.is_over():
            self._group.signal(signal.SIGKILL)  # once more, and waits for nothing
        self._group.close()
