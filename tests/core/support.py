"""What several tests of the core need: contexts made by users, threads, places."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import PurePath
from typing import Any, TypeVar, TypeVarTuple

from tether import Context, Key, Signal

T = TypeVar("T")
D = TypeVar("D")
Ts = TypeVarTuple("Ts")

LONG = 30.0  # seconds of real time; only a test that fails waits for so long


def here() -> str:
    """The caller's line, as the texts of tether name a place."""
    frame = sys._getframe(1)
    folder, name = PurePath(frame.f_code.co_filename).parts[-2:]
    return f"{folder}/{name}:{frame.f_lineno}"


def start(fn: Callable[[*Ts], T], *args: *Ts) -> Future[T]:
    """Run it in a thread of its own."""
    future: Future[T] = Future()

    def body() -> None:
        try:
            future.set_result(fn(*args))
        except BaseException as exc:
            future.set_exception(exc)

    threading.Thread(target=body, daemon=True).start()
    return future


class Wrapper(Context):
    """Hands out everything of the context it was given."""

    def __init__(self, inner: Context) -> None:
        self.inner = inner

    @property
    def deadline(self) -> float | None:
        return self.inner.deadline

    def err(self) -> BaseException | None:
        return self.inner.err()

    def value(self, key: Key[Any], default: Any = None) -> Any:
        return self.inner.value(key, default)

    def done_signal(self) -> Signal:
        return self.inner.done_signal()


class Own(Context):
    """Ends by itself, with the error that `end` is given."""

    def __init__(self, values: Context | None = None) -> None:
        self.signal = Signal()
        self.error: BaseException | None = None
        self.values = values

    def end(self, error: BaseException | None) -> None:
        self.error = error
        self.signal.set()

    def err(self) -> BaseException | None:
        return self.error

    def value(self, key: Key[Any], default: Any = None) -> Any:
        return default if self.values is None else self.values.value(key, default)

    def done_signal(self) -> Signal:
        return self.signal


class Root(Own):
    """One with an `after_func` of its own, which counts who is registered."""

    def __init__(self) -> None:
        super().__init__()
        self.registered: list[Callable[[], object]] = []
        self.ever = 0

    def after_func(self, fn: Callable[[], object]) -> Callable[[], bool]:
        self.registered.append(fn)
        self.ever += 1

        def stop() -> bool:
            if fn in self.registered:
                self.registered.remove(fn)
                return True
            return False

        return stop

    def end(self, error: BaseException | None) -> None:
        super().end(error)
        registered, self.registered = self.registered, []
        for fn in registered:
            fn()
