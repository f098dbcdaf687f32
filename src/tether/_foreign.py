"""A user-made context as a node of the tree.

The library's own nodes are looked at; a user-made context is listened to. Every scope
made below one registers with it once, at birth, and unregisters when it ends. A plain
wrapper, which hands out the `done_signal()` of a context of ours that its `value()`
leads to, is seen through: what is made below it joins that context directly.

A deadline that it claims is what those below it show, and what is left of their time is
reckoned from it. It ends nothing, and a wrapper that claims a later one than the
context that it hands through is not believed: time only shrinks.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, final

from . import _clock, _timers
from ._clock import INF
from ._errors import Canceled, ContextError, DeadlineExceeded, report
from ._keys import Key
from ._tree import NO_DEADLINE, Claim, End, Hook, Node, lock, tell

if TYPE_CHECKING:
    from ._context import Context

# Under this key a context answers with the nearest scope that can end it.
SCOPE: Key[Node] = Key("tether.scope")


def _too_late() -> bool:
    """In the place of what unregisters."""
    return False


@final
class Foreign(Node):
    """Stands where a scope would stand in `_up` of what hangs below the context."""

    __slots__ = ("_ctx", "_removes")

    def __init__(self, ctx: Context, deadline: float) -> None:
        self._ctx = ctx
        self._removes: dict[Hook | Node, Callable[[], bool]] = {}
        self._parent = ctx
        self._up = self._end = self._hooks = self._tether_stack = None
        self._deadline = deadline
        self._cause = NO_DEADLINE

    def _ended(self) -> End | None:
        if not self._ctx.done_signal().is_set():
            return None
        ctx = self._ctx
        err = ctx.err()
        cause = ctx.cause()
        error: type[ContextError] | BaseException
        if err is None:  # a signal without an error: take it for a cancel
            error = Canceled
        elif type(err) in (Canceled, DeadlineExceeded):
            error = Canceled if type(err) is Canceled else DeadlineExceeded
        else:
            error = err
        if cause is err or (cause is not None and type(cause) is error):
            cause = None if isinstance(error, type) else cause
        return End(error, cause, _clock.now(), source=ctx)

    _look = _ended

    def _attach(self, hook: Hook | Node) -> bool:
        if self._ctx.done_signal().is_set():
            return False
        assert not isinstance(hook, Node)
        self._removes[hook] = _too_late
        remove = self._ctx.done_signal().add_callback(partial(self._tell, hook))
        with lock:
            if hook in self._removes:  # else it has been told meanwhile
                self._removes[hook] = remove
        return True

    def _tell(self, hook: Hook) -> None:
        # What has been told refers to this node, which then must not to it.
        with lock:
            self._removes.pop(hook, None)
        tell((hook,))

    def _detach(self, hook: Hook | Node) -> bool:
        return self._removes.pop(hook, _too_late)()


@final
class Watch:
    """The registration of one scope with the user-made context it was made below.

    It hangs on the scope, to unregister when that ends, so it needs the scope's timer.
    """

    __slots__ = ("_deadline", "_foreign", "_remove", "_scope")

    def __init__(self, scope: Node, foreign: Foreign, *, after_func: bool) -> None:
        self._scope: Node | None = scope
        self._foreign = foreign
        self._deadline = INF if isinstance(scope._deadline, Claim) else scope._deadline
        self._remove: Callable[[], bool] | None = None
        # In the scope's hooks, so that its own end is told here.
        scope._hooks = {self: None}
        ctx = foreign._ctx
        if after_func:
            self._remove = ctx.after_func(self._report)
        else:
            self._remove = ctx.done_signal().add_callback(self._report)
        if self._deadline != INF:
            _timers.threads.add(self)
        if isinstance(scope._end, End):
            self._fire()  # it ended before there was anything to unregister

    def _report(self) -> None:
        """The context has ended: capture how."""
        scope, self._scope = self._scope, None
        if scope is None:
            return
        end: End | None
        try:
            end = self._foreign._ended()
            cause: BaseException | None = None
        except BaseException as exc:
            end, cause = None, exc
        if end is None:
            # It cannot say how, or its signal is not set yet: an end all the same.
            end = End(Canceled, cause, _clock.now(), source=self._foreign._ctx)
        scope._look()  # its own deadline may have come first
        scope._commit(end)

    def _due(self) -> None:
        scope = self._scope
        if scope is not None:
            scope._ended()

    def _fire(self) -> None:
        """The scope has ended."""
        self._scope = None
        if self._deadline != INF:
            _timers.threads.discard(self)
        if self._remove is not None:
            try:
                self._remove()
            except BaseException as exc:
                report(exc)


def join(ctx: Context) -> tuple[Node | None, float]:
    """What can end a user-made context, and its deadline as tether takes it."""
    inner = ctx.value(SCOPE)
    if isinstance(inner, Node) and ctx.done_signal() == inner.done_signal():  # type: ignore[attr-defined]
        above = inner._deadline
        claimed = ctx.deadline
        if claimed is None or not claimed < above:
            return inner, above
        return inner, Claim(claimed, above.ends if isinstance(above, Claim) else above)
    when = INF if ctx.deadline is None else Claim(ctx.deadline)
    return Foreign(ctx, when), when


# A node that stands for a context, to derive from; set by the module that makes nodes.
adopt: Callable[[Context], Context]
