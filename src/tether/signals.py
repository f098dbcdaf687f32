"""A context that ends with a signal, for a program that has its own loop or thread.

`tether.run` does this and more for a program's `main`.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from functools import partial
from threading import current_thread, main_thread
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Any, final

from ._context import Context, _made_here
from ._errors import (
    ENTERED_SIGNALS_TWICE,
    NOT_A_CONTEXT,
    NOT_A_SIGNAL,
    NOT_THE_MAIN_THREAD,
)

if TYPE_CHECKING:
    from ._scope import Scope

__all__ = ["Signaled", "with_signals"]

TERMINATING = (signal.SIGINT, signal.SIGTERM)


class Signaled(Exception):
    """The cause of a context that a signal has ended: "SIGTERM received".

    >>> from tether.signals import Signaled
    >>> cause = Signaled(15)
    >>> cause.signum, str(cause)
    (15, 'SIGTERM received')
    """

    def __init__(self, signum: int) -> None:
        super().__init__(signum)
        self.signum = int(signum)

    @property
    def name(self) -> str:
        """As "SIGTERM"."""
        return name_of(self.signum)

    def __str__(self) -> str:
        return f"{self.name} received"


def with_signals(ctx: Context, *signals: int) -> AbstractContextManager[Scope]:
    """A block whose scope is canceled by the first of these signals.

    SIGINT and SIGTERM if none are named. The scope's `cause()` is a `Signaled`. The
    handlers are set when the block is entered, and what was there before is back when
    it is left. Until then further signals do nothing more to the scope.

        >>> import signal
        >>> from tether import Canceled, background
        >>> from tether.signals import with_signals
        >>> try:
        ...     with with_signals(background(), signal.SIGTERM) as ctx:
        ...         signal.raise_signal(signal.SIGTERM)
        ...         ctx.sleep(60.0)
        ... except Canceled as exc:
        ...     print(exc.__cause__)
        SIGTERM received

    A handler written in Python that was there before (a server's) is called as well, as
    in Go, where everybody who listens is told. Python's own for SIGINT, which raises
    KeyboardInterrupt, and that of `asyncio.run`, which cancels the main task, are not.
    What `loop.add_signal_handler()` has set before goes on too; set inside the block it
    replaces this handler, and the scope hears no more of that signal.

    For the main thread: elsewhere entering raises `RuntimeError`. Its scope may be used
    in any thread and in any event loop.
    """
    if not isinstance(ctx, Context):
        raise TypeError(NOT_A_CONTEXT.format(name="with_signals", value=ctx))
    scope_of = partial(_made_here, frame=sys._getframe(1))
    return _WithSignals(ctx, numbers(signals or TERMINATING), scope_of)


@final
class _WithSignals:
    """The block of `with_signals`."""

    __slots__ = ("_ctx", "_handlers", "_made", "_numbers", "_scope")

    def __init__(
        self, ctx: Context, numbers: list[int], made: Callable[[Scope], Scope]
    ) -> None:
        self._ctx = ctx
        self._numbers = numbers
        self._made = made
        self._handlers: Handlers | None = None
        self._scope: Scope

    def __enter__(self) -> Scope:
        if self._handlers is not None:
            raise RuntimeError(ENTERED_SIGNALS_TWICE)
        cure = "pass the scope on to the threads"
        refuse_other_threads("with_signals", cure)
        self._scope = self._made(self._ctx.with_cancel())
        self._handlers = Handlers(self._numbers, self._told)
        self._handlers.set()
        try:
            return self._scope.__enter__()
        except BaseException:
            self._handlers.restore()
            raise

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        assert self._handlers is not None
        try:
            self._scope.__exit__(exc_type, exc, tb)
        finally:
            self._handlers.restore()

    def _told(self, signum: int, frame: FrameType | None) -> None:
        assert self._handlers is not None
        self._scope.cancel(Signaled(signum))
        before = self._handlers.before.get(signum)
        if callable(before) and not _is_a_default(before):
            before(signum, frame)


@final
class Handlers:
    """`handler` in the place of those of some signals, from `set` until `restore`."""

    def __init__(
        self, signals: Iterable[int], handler: Callable[[int, FrameType | None], object]
    ) -> None:
        self.handler = handler
        self.signals = signals
        self.before: dict[int, Any] = {}

    def set(self) -> None:
        try:
            for signum in self.signals:
                self.before[signum] = signal.getsignal(signum)
                signal.signal(signum, self.handler)
        except BaseException:
            self.restore()
            raise

    def is_set(self, signum: int) -> bool:
        """Whether nobody has replaced it meanwhile."""
        return signum in self.before and signal.getsignal(signum) == self.handler

    def restore(self) -> None:
        """Put back what was there, unless somebody has set another since."""
        for signum, before in self.before.items():
            if self.is_set(signum):
                # None: set by C code, which Python cannot put back.
                signal.signal(signum, signal.SIG_DFL if before is None else before)


def numbers(signals: Iterable[int]) -> list[int]:
    """The signals, each once; an error for what cannot be handled."""
    found: list[int] = []
    uncatchable = {getattr(signal, name, 0) for name in ("SIGKILL", "SIGSTOP")}
    for signum in signals:
        if not isinstance(signum, int) or isinstance(signum, bool):
            raise TypeError(NOT_A_SIGNAL.format(value=signum))
        if signum not in signal.valid_signals() or signum in uncatchable:
            raise ValueError(NOT_A_SIGNAL.format(value=signum))
        if signum not in found:
            found.append(int(signum))
    return found


def name_of(signum: int) -> str:
    """As "SIGTERM"; those in the middle of the real-time ones have only a number."""
    try:
        return signal.Signals(signum).name
    except ValueError:
        return f"signal {signum}"


def others(signum: int) -> bool:
    """Whether somebody listens to it in Python, and not only by default."""
    handler = signal.getsignal(signum)
    return callable(handler) and not _is_a_default(handler)


def refuse_other_threads(name: str, cure: str) -> None:
    """Only the main thread may set handlers, and only it runs them."""
    if current_thread() is not main_thread():
        raise RuntimeError(NOT_THE_MAIN_THREAD.format(name=name, cure=cure))


def _is_a_default(handler: object) -> bool:
    """Whether it is what Python or asyncio do with SIGINT if nobody listens."""
    function = getattr(handler, "func", None)
    owner = getattr(function, "__self__", None)
    return handler is signal.default_int_handler or isinstance(owner, asyncio.Runner)
