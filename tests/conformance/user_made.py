"""User-made contexts, written as a user of tether would write them."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from tether import Context, Key, Signal


class Wrap(Context):
    """Hands every method through to a parent."""

    def __init__(self, parent: Context) -> None:
        self._parent = parent

    @property
    def deadline(self) -> float | None:
        return self._parent.deadline

    def err(self) -> BaseException | None:
        return self._parent.err()

    def value(self, key: Key[Any], default: Any = None) -> Any:
        return self._parent.value(key, default)

    def done_signal(self) -> Signal:
        return self._parent.done_signal()


class WrapNoValue(Wrap):
    """The same, but hides every value."""

    def value(self, key: Key[Any], default: Any = None) -> Any:
        return default


class WrapDone(Wrap):
    """The same, but is done when told so, whatever became of its parent."""

    def __init__(self, parent: Context) -> None:
        super().__init__(parent)
        self._done = Signal()

    def done_signal(self) -> Signal:
        return self._done

    def close(self) -> None:
        """Makes it done."""
        self._done.set()


class _OwnEnd(Context):
    """A context with an error of its own and a signal of its own."""

    def __init__(self) -> None:
        self._done = Signal()
        self._ended_with: BaseException | None = None
        self._lock = threading.Lock()

    def err(self) -> BaseException | None:
        return self._ended_with

    def done_signal(self) -> Signal:
        return self._done

    def end(self, error: BaseException) -> None:
        """Ends it with that error, unless it has ended."""
        if self._take(error):
            self._done.set()

    def _take(self, error: BaseException) -> bool:
        with self._lock:
            if self._ended_with is not None:
                return False
            self._ended_with = error
            return True


class Own(_OwnEnd):
    """Deadline and values of a parent; ends by itself, or after its parent has."""

    def __init__(
        self, parent: Context, run: Callable[[Callable[[], object]], None]
    ) -> None:
        super().__init__()
        self._parent = parent
        parent.after_func(lambda: run(self._parent_ended))

    @property
    def deadline(self) -> float | None:
        return self._parent.deadline

    def value(self, key: Key[Any], default: Any = None) -> Any:
        return self._parent.value(key, default)

    def _parent_ended(self) -> None:
        error = self._parent.err()
        if error is None:
            raise RuntimeError("an after-function ran while its context had no error")
        self.end(error)


class Root(_OwnEnd):
    """No parent and no values. A deadline is claimed only: nothing happens then."""

    def __init__(self, deadline: float | None = None) -> None:
        super().__init__()
        self._deadline = deadline

    @property
    def deadline(self) -> float | None:
        return self._deadline

    def value(self, key: Key[Any], default: Any = None) -> Any:
        return default


class RootAf(Root):
    """A root that keeps after-functions itself, and runs each in a thread."""

    def __init__(
        self,
        start: Callable[[Callable[[], object]], None],
        deadline: float | None = None,
    ) -> None:
        super().__init__(deadline)
        self._start = start
        self._functions: dict[object, Callable[[], object]] = {}

    @property
    def registered(self) -> int:
        """How many functions are registered now."""
        with self._lock:
            return len(self._functions)

    def after_func(self, f: Callable[[], object]) -> Callable[[], bool]:
        token = object()
        with self._lock:
            ended = self._ended_with is not None
            if not ended:
                self._functions[token] = f
        if ended:
            self._start(f)

        def stop() -> bool:
            with self._lock:
                return self._functions.pop(token, None) is not None

        return stop

    def end(self, error: BaseException) -> None:
        if not self._take(error):
            return
        with self._lock:
            functions = list(self._functions.values())
            self._functions.clear()
        self._done.set()
        for function in functions:
            self._start(function)
