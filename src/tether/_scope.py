"""Scope, and the other contexts that tether makes.

Each is a node of the tree and a Context at once: two objects would cost twice. Only a
`Scope` can end by itself; the others (`_Plain`: values, detached ones, the roots) end
with the nearest scope above, their `_up`.

Deriving, entering and leaving are paid for by every request. They are written out, with
few calls, and their cost is measured in `bench`.
"""

from __future__ import annotations

import sys
import warnings
from _thread import get_ident
from contextvars import Token
from types import CodeType, FrameType, TracebackType
from typing import Any, NoReturn, Self, TypeVar, cast, final

from . import _clock, _describe, _foreign, _hooks, _interrupt, _live, _watching
from ._checks import cause_, seconds_
from ._clock import INF
from ._context import Context
from ._current import var as _current
from ._errors import (
    ENTERED_TWICE,
    LEFT_WITHOUT_ENTER,
    NEVER_CANCELED,
    NIL_KEY,
    NIL_PARENT,
    NOT_A_KEY,
    NOT_BY_HAND,
    Canceled,
    DeadlineExceeded,
    append_cause,
)
from ._foreign import SCOPE, Foreign, Watch
from ._interrupt import ANYIO, NO_TASK, Stack, current_stack
from ._keys import ELSEWHERE, Key, Value
from ._loops import running_loop, states, task_of
from ._signal import Signal
from ._tree import (
    ADOPTED,
    DETACHED,
    ENTERED,
    GIL,
    LEFT,
    NEW,
    NO_DEADLINE,
    VALUE,
    Claim,
    End,
    Node,
    lock,
)

T = TypeVar("T")

_current_get = _current.get
_current_set = _current.set
_current_reset = _current.reset
# In the place of the token of a scope whose block is not open.
NO_TOKEN: Any = None
_state_of = states.get
_new = object.__new__
_frame = sys._getframe
_modules = sys.modules


class _Made(Node, Context):
    """What the contexts that tether makes have in common."""

    __slots__ = ()

    def __new__(cls) -> Self:
        raise TypeError(NOT_BY_HAND)

    _values: Value | None

    def with_cancel(self, *, label: str | None = None) -> Scope:
        return _derive(self, _clock.now(), INF, 0.0, None, label, _frame(1))

    def with_timeout(
        self,
        seconds: float,
        cause: BaseException | None = None,
        *,
        reserve: float = 0.0,
        label: str | None = None,
    ) -> Scope:
        if seconds.__class__ is not float or not seconds < INF:
            seconds = seconds_("seconds", seconds)
        now = _clock.now()
        when = now + seconds
        if reserve != 0.0:
            when = min(when, self._deadline - seconds_("reserve", reserve))
            seconds = when - now
        return _derive(self, now, when, seconds, cause, label, _frame(1))

    def with_deadline(
        self,
        when: float,
        cause: BaseException | None = None,
        *,
        reserve: float = 0.0,
        label: str | None = None,
    ) -> Scope:
        when = seconds_("when", when)
        if reserve != 0.0:
            when = min(when, self._deadline - seconds_("reserve", reserve))
        now = _clock.now()
        return _derive(self, now, when, when - now, cause, label, _frame(1))

    def with_value(self, key: Key[T], value: T) -> Context:
        if not isinstance(key, Key):
            kind = type(key).__name__
            raise TypeError(NIL_KEY if key is None else NOT_A_KEY.format(kind=kind))
        up = self if self.__class__ is Scope else self._up
        return _plain(VALUE, self, up, self._deadline, Value(key, value, self._values))

    def without_cancel(self) -> Context:
        return _plain(DETACHED, self, None, INF, self._values)

    @property
    def deadline(self) -> float | None:
        when = self._deadline
        return None if when == INF else float(when)

    def value(self, key: Key[Any], default: Any = None) -> Any:
        if key is SCOPE:
            return _scope_of(self)
        link = self._values
        while link is not None:
            if link.key is key:
                return link.value
            if link.key is ELSEWHERE:
                return cast(Context, link.value).value(key, default)
            link = link.next
        return default

    def done_signal(self) -> Signal:
        node = self._tether_node()
        if isinstance(node, Foreign):
            return node._ctx.done_signal()
        return _hooks.DoneSignal(node)

    def done(self) -> bool:
        return self._tether_end_of() is not None

    def err(self) -> BaseException | None:
        end = self._tether_end_of()
        return None if end is None else self._tether_error(end)

    def cause(self) -> BaseException | None:
        end = self._tether_end_of()
        if end is None:
            return None
        return self._tether_error(end) if end.cause is None else end.cause


@final
class _Plain(_Made):
    """A context that cannot end by itself."""

    __slots__ = ("_name",)

    _name: str

    def _tether_node(self) -> Node | None:
        return self._up

    def _tether_end_of(self) -> End | None:
        return None if self._up is None else self._up._ended()

    # What a user-made context above says of itself holds for its values too, even
    # while its signal is not set.

    def err(self) -> BaseException | None:
        up = self._up
        return up._ctx.err() if isinstance(up, Foreign) else super().err()

    def cause(self) -> BaseException | None:
        up = self._up
        return up._ctx.cause() if isinstance(up, Foreign) else super().cause()


@final
class Scope(_Made):
    """A context that you own: what is derived with `with_cancel()` and the like.

    Use it in a `with` block, once. Leaving the block cancels it. In a task the block
    also bounds what does not know about contexts: when the scope is over, by its own
    time or because something above it ended, the `await` inside the block that is in
    progress is interrupted, and the block raises `DeadlineExceeded` or `Canceled`. In a
    thread nothing can be interrupted from outside; there every call that takes a
    context notices.

        >>> from tether import DeadlineExceeded, background
        >>> try:
        ...     with background().with_timeout(0.01) as budget:
        ...         budget.sleep(60.0)
        ... except DeadlineExceeded as exc:
        ...     print(exc, exc.ctx is budget)
        context deadline exceeded True

    Entering a scope that is over raises its error, and so does entering one twice
    (`RuntimeError`).
    """

    __slots__ = ()

    def cancel(self, cause: BaseException | None = None) -> None:
        """End it and all that is derived from it, before this returns.

        The first end counts: on a scope that is over it does nothing. `cause` is kept
        as it is, for `cause()`. May be called from any thread, a signal handler, a
        finalizer, an `after_func`; it waits for nothing.
        """
        if cause is None and GIL and self._hooks is None and self._tether_stack is None:
            # Nobody to tell: as in __exit__, see invariants 5 and 7 of the tree.
            node = self._up
            while node is not None and node._end is None:
                node = node._up
            now = _clock.now()
            if node is not None or now >= self._deadline:
                self._ended()
            if self._end is None:
                self._end = now
            if self._hooks is not None or self._tether_stack is not None:
                self._ended()
            return
        cause = cause_(cause)
        if self._ended() is None:
            self._commit(End(Canceled, cause, _clock.now()))

    def err(self) -> BaseException | None:
        if self._end is None:
            node = self._up
            while node is not None:
                if node._end is not None:
                    break
                node = node._up
            else:
                deadline = self._deadline
                if deadline == INF or _clock.now() < deadline:
                    return None
        end = self._look()
        return None if end is None else self._tether_error(end)

    def done(self) -> bool:
        return self._ended() is not None

    def _tether_node(self) -> Node | None:
        return self

    def _tether_end_of(self) -> End | None:
        return self._ended()

    # -- the block -------------------------------------------------------------

    def __enter__(self) -> Scope:
        if self._state != NEW:
            raise RuntimeError(ENTERED_TWICE.format(site=_describe.site(self)))
        up = self._up
        node = up
        while node is not None and node._end is None:
            node = node._up
        deadline = self._deadline
        if (
            self._end is not None
            or node is not None
            or (deadline != INF and _clock.now() >= deadline)
        ):
            end = self._ended()
            if end is not None:
                self._state = LEFT
                self._tether_raise(end)
        prev = _current_get()
        stack: Stack | None = None if prev is None else prev._tether_stack
        if stack is None or not (
            (task_of(stack.loop) is stack.task and stack.thread == get_ident())
            or stack.is_current()
        ):
            # As current_stack(), which makes what is not there.
            loop = running_loop()
            if loop is None:
                stack = None
            else:
                task = task_of(loop)
                state = _state_of(id(loop))
                stack = None if state is None else state.stacks.get(id(task))
                if stack is None or task is None:
                    stack = current_stack()
                elif stack.task is not task:
                    stack.start(loop, task)
        self._state = ENTERED
        if stack is not None:
            self._tether_stack = stack
            self._base = stack.task.cancelling()
            blocks = stack.blocks
            blocks.append(self)
            if up is not None and up._tether_stack is stack:
                # Covered: the end of the parent's block reaches this task already, and
                # so does a deadline that is the parent's.
                timed = deadline != up._deadline
            else:
                timed = deadline != INF
                if up is not None or len(blocks) > 1:
                    stack.cover(self)
            if timed:
                timers = stack.timers
                if deadline < timers.armed:
                    timers.add(self)
                else:
                    timers.fresh.add(self)
            tasks = _interrupt._anyio_data
            if tasks or (tasks is None and ANYIO in _modules):
                stack.note_anyio(self)
            if self._end is not None:
                stack._fire()  # ended elsewhere before it knew of this stack
        self._token = _current_set(self)
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        stack: Stack | None
        if self._state != ENTERED:
            if self._state == NEW:
                raise RuntimeError(LEFT_WITHOUT_ENTER)
            if self._state == LEFT:
                return
            stack = self._tether_stack  # type: ignore[assignment]
            if stack is not None and len(stack.blocks) > 1:
                stack._fire()  # for what a released block held back
        if self._end.__class__ is float:
            self._ended()  # canceled, not left: the state still tells
        self._state = LEFT
        if self._token is not NO_TOKEN and _current_get() is self:
            try:
                _current_reset(self._token)
            except ValueError:
                # In a copy of the variables it was set in: another task's, a thread's.
                old = self._token.old_value
                _current_set(None if old is Token.MISSING else old)
        self._token = NO_TOKEN
        raised: Node | None = None
        stack = self._tether_stack  # type: ignore[assignment]
        if stack is not None:
            self._tether_stack = None
            timers = stack.timers
            timers.fresh.discard(self)
            if timers.numbers:
                timers.discard(self)
            blocks = stack.blocks
            if not stack.slow and blocks and blocks[-1] is self:
                del blocks[-1]
            else:
                raised = stack.leave(self, exc)
            if not blocks:
                stack.task = stack.loop = NO_TASK
        if GIL and self._hooks is None:
            node = up = self._up
            while node is not None and node._end is None:
                node = node._up
            now = _clock.now()
            if node is not None or now >= self._deadline:
                self._ended()  # what has ended before comes first
            if self._end is None:
                self._end = now
            if self._hooks is not None:
                self._ended()
            hooked = None if up is None else up._hooks
            if hooked is not None and self in hooked:
                with lock:
                    self._unhook()
        elif self._ended() is None:
            self._commit(End(Canceled, None, _clock.now(), left=True))
        if raised is not None:
            cast(Scope, raised)._give_back(exc)

    def _give_back(self, interruption: BaseException | None) -> NoReturn:
        """Raise the error that the interruption stood for.

        One that took the place of a library's error was raised from that, which stays
        the cause; why the context ended comes after it.
        """
        end = self._ended()
        assert end is not None
        error = self._tether_error(end)
        came = None if interruption is None else interruption.__cause__
        try:
            if came is None:
                raise error
            append_cause(came, error.__cause__)
            raise error from came
        finally:
            del error, interruption, came

    def _due(self) -> None:
        if self._ended() is None and isinstance(self._deadline, Claim):
            # What was due is what a wrapper claims; its context may end later.
            stack: Stack | None = self._tether_stack  # type: ignore[assignment]
            if stack is not None and self._deadline.ends != INF:
                stack.state.timers.add(_hooks.Later(self))

    def __del__(self) -> None:
        if _watching.dropped is not None:
            _watching.dropped(self)
        if self._end is None and self._is_alone():
            warnings.warn(
                NEVER_CANCELED.format(site=_describe.site(self)),
                ResourceWarning,
                source=self,
                stacklevel=2,
            )

    def _is_alone(self) -> bool:
        """Whether nothing above has ended it either.

        Looks a few steps up only, as a long chain that is dropped at once would walk
        for each. Deeper down nothing is said: those near the top speak for them.
        """
        node: Node | None = self
        for _ in range(16):
            if node is None:
                return _clock.now() < _hooks.real_deadline(self)
            if node._end is not None:
                return False
            node = node._up
        return False


def _derive(
    parent: _Made,
    now: float,
    when: float,
    span: float,
    cause: BaseException | None,
    label: str | None,
    frame: FrameType,
) -> Scope:
    """A scope below `parent`; `when` is INF for one without a deadline of its own."""
    if cause is not None:
        cause = cause_(cause)
    scope = _new(Scope)
    scope._parent = parent
    scope._up = up = parent if parent.__class__ is Scope else parent._up
    scope._values = parent._values
    scope._code = frame.f_code
    scope._lasti = frame.f_lasti
    scope._state = NEW
    scope._end = scope._hooks = scope._tether_stack = None
    above = parent._deadline
    if when == INF or when > above:
        # None of its own, or one that cannot matter: then it is dropped, cause and all.
        scope._deadline = above
        scope._cause = NO_DEADLINE
        scope._span = now
    else:
        scope._deadline = when
        scope._cause = cause
        scope._span = span
        node = up
        while node is not None and node._end is None:
            node = node._up
        if node is not None or now >= when or now >= above:
            _born(scope, up, now)  # its parent is over, or it itself
    if up is not None and up.__class__ is Foreign:
        _register(scope, parent, up)
    if label is not None:
        scope._values = Value(_describe.LABEL, label, scope._values)
    if _live.made is not None:
        _live.made(scope)
    return scope


def derive_at(
    parent: Context,
    since: float,
    when: float,
    cause: BaseException | None,
    label: str,
    site: tuple[CodeType, int],
) -> Scope:
    """A scope below `parent` as if it had been derived and entered at `since`."""
    made = cast(_Made, _adopt(parent))
    scope = _derive(made, since, when, when - since, cause, label, _frame(0))
    scope._code, scope._lasti = site
    scope._token = NO_TOKEN
    scope._state = ENTERED
    return scope


def _born(scope: Scope, up: Node | None, now: float) -> None:
    """Look once, as a deadline is set: whether the parent is over, or it has passed."""
    if up is not None:
        scope._end = up._ended()
    if scope._end is None and scope._deadline <= now:
        scope._commit(End(DeadlineExceeded, scope._cause, scope._deadline))


def _register(scope: Scope, parent: _Made, foreign: Foreign) -> None:
    """Have a scope learn of the end of the user-made context it is made below."""
    scope._up = None
    if scope._end is not None:
        return
    try:
        end = foreign._ended()
        if end is not None:
            scope._end = end
        elif foreign._ctx.done_signal() != _hooks.NEVER:
            own = type(foreign._ctx).after_func is not Context.after_func
            Watch(scope, foreign, after_func=own and parent._state == ADOPTED)
    except BaseException as exc:
        scope._commit(End(Canceled, exc, _clock.now()))  # nobody will get it
        raise


def _plain(
    kind: int,
    parent: Context | None,
    up: Node | None,
    deadline: float,
    values: Value | None,
) -> _Plain:
    plain = _new(_Plain)
    plain._state = kind
    plain._parent = parent
    plain._up = up
    plain._deadline = deadline
    plain._values = values
    plain._end = plain._hooks = plain._tether_stack = plain._code = None
    plain._cause = NO_DEADLINE
    return plain


def _adopt(ctx: Context) -> Context:
    """A node that stands for a user-made context, to derive from."""
    if not isinstance(ctx, Context):
        raise TypeError(NIL_PARENT)
    if isinstance(ctx, _Made):
        return ctx
    up, deadline = _foreign.join(ctx)
    return _plain(ADOPTED, ctx, up, deadline, Value(ELSEWHERE, ctx, None))


def _scope_of(made: _Made) -> object:
    """What SCOPE stands for: the scope that ends it."""
    node = made._tether_node()
    if isinstance(node, Foreign):
        return node._ctx.value(SCOPE)
    return node


_foreign.adopt = _adopt
