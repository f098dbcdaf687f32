"""What may hang on a context: functions, signals, file descriptors.

Each is told once, by whichever thread finds the end, and hands on: a function to the
pool, a wait to its thread or loop. None runs user code where it is told, except the
callbacks of a `Signal`, which say so.
"""

from __future__ import annotations

import os
import select
from collections.abc import Callable
from typing import TYPE_CHECKING, final
from weakref import WeakKeyDictionary, ref

from . import _pool, _timers
from ._checks import callable_
from ._clock import INF
from ._errors import SIGNAL_OF_A_CONTEXT, report
from ._foreign import Foreign
from ._signal import Signal
from ._tree import Claim, End, Node

if TYPE_CHECKING:
    from ._context import Context


def real_deadline(node: Node | None) -> float:
    """When the clock ends the node; not what a user-made context claims."""
    if node is None:
        return INF
    when = node._deadline
    return when.ends if isinstance(when, Claim) else when


def _time(hook: _timers.Entry, node: Node) -> None:
    """Have the node looked at when its time is over, for a hook that hangs on it."""
    if hook._deadline != INF:
        _timers.threads.add(hook)
        if isinstance(node._end, End):
            _timers.threads.discard(hook)  # told before it was added


@final
class Later:
    """Looks at a block when its time is over, after the time that was claimed for it.

    Among the timers of a loop; the block may be left and gone by then.
    """

    __slots__ = ("_deadline", "_node")

    def __init__(self, node: Node) -> None:
        self._deadline = real_deadline(node)
        self._node = ref(node)

    def _due(self) -> None:
        node = self._node()
        if node is not None:
            node._ended()


@final
class AfterFunc:
    """A function that runs in the pool when a context ends, once, unless stopped."""

    __slots__ = ("_deadline", "_func", "_node", "_stopped")

    def __init__(self, node: Node | None, func: Callable[[], object]) -> None:
        if isinstance(node, Foreign) and node._ctx.done_signal() == NEVER:
            node = None
        self._func = func
        self._node = node
        self._stopped = False
        self._deadline = real_deadline(node)

    def start(self) -> None:
        node = self._node
        if node is None:
            return  # nothing can end the context
        if node._attach(self):
            _time(self, node)
        else:
            _pool.submit((self._func,))

    def _due(self) -> None:
        if self._node is not None:
            self._node._ended()

    def _fire(self) -> Callable[[], object]:
        if self._deadline != INF:
            _timers.threads.discard(self)
        return self._func

    def stop(self) -> bool:
        """Whether it is now never run; False: it has been started or stopped."""
        if self._node is None:
            stopped, self._stopped = self._stopped, True
            return not stopped
        if not self._node._detach(self):
            return False
        if self._deadline != INF:
            _timers.threads.discard(self)
        return True


@final
class Callback:
    """A callback of `ctx.done_signal()`: runs in the thread that finds the end."""

    __slots__ = ("_deadline", "_func", "_node")

    def __init__(self, node: Node, func: Callable[[], object]) -> None:
        self._func = func
        self._node = node
        self._deadline = real_deadline(node)

    def _due(self) -> None:
        self._node._ended()

    def _fire(self) -> None:
        if self._deadline != INF:
            _timers.threads.discard(self)
        try:
            self._func()
        except BaseException as exc:
            # Whoever has found the end, in cancel() or a timer, has others to tell.
            report(exc)

    def remove(self) -> bool:
        if self._deadline != INF:
            _timers.threads.discard(self)
        return self._node._detach(self)


@final
class DoneSignal(Signal):
    """The signal of a context of ours: a view of the node that ends it."""

    __slots__ = ("_node",)

    def __init__(self, node: Node | None) -> None:
        super().__init__()
        self._node = node

    def __eq__(self, other: object) -> bool:
        return isinstance(other, DoneSignal) and other._node is self._node

    def __hash__(self) -> int:
        return hash(id(self._node))

    def is_set(self) -> bool:
        return self._node is not None and self._node._ended() is not None

    def set(self) -> None:
        raise RuntimeError(SIGNAL_OF_A_CONTEXT)

    def add_callback(self, callback: Callable[[], object]) -> Callable[[], bool]:
        if self._node is None:
            return super().add_callback(callback)
        hook = Callback(self._node, callable_("add_callback", callback))
        if not self._node._attach(hook):
            hook._fire()
        else:
            _time(hook, self._node)
        return hook.remove


# What the signal of a context that nothing can end is equal to.
NEVER = DoneSignal(None)


def _nothing() -> None:
    """In the place of a weak reference."""


@final
class _Told:
    """The callback of a descriptor in the signal of a user-made context.

    It lives as long as that signal, and no longer than the context.
    """

    __slots__ = ("__weakref__", "_fileno", "remove")

    def __init__(self, fileno: Fileno, signal: Signal) -> None:
        self._fileno = fileno
        self.remove = signal.add_callback(self)

    def __call__(self) -> None:
        self._fileno._fire()


@final
class Fileno:
    """A file descriptor that becomes readable when a context ends.

    It hangs on the node and on what is above the node, but does not hook the one into
    the other: so a context that is dropped is collected, and the descriptor is closed
    with its `owner`. It is known to the whole process (`_filenos`), so it refers to
    nothing that could lead to a context: the parent knows its hooked children, a signal
    its callbacks.
    """

    __slots__ = (
        *("__weakref__", "_deadline", "_node", "_owner", "_told", "_up"),
        *("read", "write"),
    )

    _up: Callable[[], Node | None]
    _told: Callable[[], _Told | None]

    def __init__(self, owner: object, node: Node) -> None:
        if hasattr(os, "eventfd"):
            self.read = self.write = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        else:
            self.read, self.write = os.pipe()
        self._owner = ref(owner, self._close)
        self._deadline = real_deadline(node)
        self._node = ref(node)
        self._up = self._told = _nothing
        if isinstance(node, Foreign):
            self._told = ref(_Told(self, node._ctx.done_signal()))
            return
        up = node._up
        if up is not None:
            self._up = ref(up)
        if (up is None or up._attach(self)) and node._attach_here(self):
            _time(self, node)
        else:
            self._fire()

    def _due(self) -> None:
        node = self._node()
        if node is not None:
            node._ended()

    def _fire(self) -> None:
        if self._deadline != INF:
            _timers.threads.discard(self)
        # Twice when both the node and its parent tell; readable all the same.
        if self.write >= 0:
            os.write(self.write, b"\1\0\0\0\0\0\0\0")

    def _close(self, _: object) -> None:
        for node in (self._up(), self._node()):
            if node is not None:
                node._detach(self)
        told = self._told()
        if told is not None:
            told.remove()
        if self._deadline != INF:
            _timers.threads.discard(self)
        for fd in {self.read, self.write}:
            os.close(fd)
        self.read = self.write = -1


_filenos: WeakKeyDictionary[object, Fileno] = WeakKeyDictionary()


def fileno(ctx: Context, node: Node | None) -> int:
    """The descriptor of what ends `ctx`, made at the first call.

    One for each scope, which the contexts with values below it share; one for each
    user-made context; and one in all for what nothing can end.
    """
    owner: object = node
    if node is None:
        owner, node = _NEVER, _NEVER
    elif isinstance(node, Foreign):
        owner = ctx
    found = _filenos.get(owner)
    if found is None:
        found = _filenos.setdefault(owner, Fileno(owner, node))
    return found.read


_NEVER = Node()
_NEVER._up = _NEVER._end = _NEVER._hooks = _NEVER._tether_stack = None
_NEVER._deadline = INF


def _renew_filenos() -> None:
    """In a forked child: descriptors of its own, under the same numbers.

    An eventfd is shared with the parent, who would be told of what ends here.
    """
    for fileno in [*_filenos.values()]:
        ready = bool(select.select([fileno.read], [], [], 0)[0])
        if fileno.read == fileno.write:
            fresh = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
            os.dup2(fresh, fileno.read, inheritable=False)
            os.close(fresh)
        else:
            for fresh, old in zip(os.pipe(), (fileno.read, fileno.write), strict=True):
                os.dup2(fresh, old, inheritable=False)
                os.close(fresh)
        if ready:
            fileno._fire()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_filenos)
