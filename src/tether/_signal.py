"""Signal: a one-shot flag with callbacks, for contexts that users make."""

from __future__ import annotations

from collections.abc import Callable

from ._checks import callable_
from ._tree import lock


class Signal:
    """A one-shot flag with callbacks: what a user-made context ends with.

    `set()` runs the callbacks in the calling thread; a callback that is added
    afterwards runs at once. Whatever a callback raises reaches who called `set()`,
    after the others have run.

        >>> from tether import Signal
        >>> signal = Signal()
        >>> remove = signal.add_callback(lambda: print("over"))
        >>> signal.set()
        over
        >>> signal.is_set(), remove()
        (True, False)
    """

    __slots__ = ("__weakref__", "_callbacks", "_is_set")

    def __init__(self) -> None:
        self._is_set = False
        self._callbacks: dict[object, Callable[[], object]] = {}

    def is_set(self) -> bool:
        """Whether `set()` has been called."""
        return self._is_set

    def set(self) -> None:
        """Set it, once and for all, and run the callbacks. Again: nothing."""
        with lock:
            if self._is_set:
                return
            self._is_set = True
            callbacks, self._callbacks = self._callbacks, {}
        failure: BaseException | None = None
        for callback in callbacks.values():
            try:
                callback()
            except BaseException as exc:
                failure = exc
        if failure is not None:
            try:
                raise failure
            finally:
                failure = None  # its traceback holds this frame

    def add_callback(self, callback: Callable[[], object]) -> Callable[[], bool]:
        """Call `callback` when it is set; returns `remove`.

        `remove()` is True if the callback is now never called, False if it has been,
        or has been removed before.
        """
        callable_("add_callback", callback)
        token = object()

        def remove() -> bool:
            with lock:
                return self._callbacks.pop(token, None) is not None

        with lock:
            if not self._is_set:
                self._callbacks[token] = callback
                return remove
        callback()
        return remove
