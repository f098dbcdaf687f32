"""The node: how one context ends and how its end reaches what hangs below it.

Invariants

1.  Only shrink. `_deadline` is the minimum of the node's own deadline and all above
    it. The first end wins, for error and cause together, and never changes.
2.  Lazy. A new node is known to nobody: no timer, no entry in its parent, no lock.
    `_ended()` compares the clock and walks up. Only what hangs on a node (`_attach`)
    hooks it into its parent and that one into its own, up to the root; the last one
    to leave (`_detach`) unhooks the chain. Hence: whatever is in `_hooks` of a node is
    told, and a node nobody waits on costs an object and leaks nothing.
3.  Which end came first is decided by instants. An end records when it happened; a
    deadline is its own instant. The earliest on the chain wins, the nearer node on a
    tie. A committed end has already been weighed against all above it.
4.  The first look that finds an end commits it and takes the hooks, in one step under
    the lock. What is taken is fired once, outside the lock; what is no longer there
    cannot be detached.
5.  `_end` holds None, an End, or a float: the instant at which a `with` block was left,
    or the scope canceled (`_state` tells), while nothing hung on the node. The float
    becomes an End when somebody looks. This makes leaving a block one clock reading and
    one store.
6.  One lock for all trees, `lock`: re-entrant, because a signal handler or a finalizer
    may cancel in the middle of a locked section of the same thread. Between the test
    of `_end` and its store stands no call, no backward jump and no allocation, so
    nothing can come between them in this thread. User code never runs under it. It is
    the innermost lock: while it is held no other is taken.
7.  Leaving a block does not lock (6 times the cost) where there is a global
    interpreter lock: it stores its end and then looks for hooks, `_attach` stores its
    hook and then looks for an end, so at least one sees the other. Without the
    interpreter lock, stores may pass loads, and leaving takes the lock.
8.  No recursion, so a chain of a million is canceled and dropped like one of three,
    and no cycle: an End knows no node, a parent knows only hooked children.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable
from threading import RLock
from types import CodeType
from typing import TYPE_CHECKING, Protocol, Self, final

from . import _clock, _pool
from ._clock import INF
from ._errors import Canceled, ContextError, DeadlineExceeded

if TYPE_CHECKING:
    from contextvars import Token

    from ._context import Context
    from ._current import Pending
    from ._keys import Value

lock = RLock()

# False on a free-threaded build: see invariant 7.
GIL: bool = getattr(sys, "_is_gil_enabled", lambda: True)()


class Hook(Protocol):
    """What may hang on a node: told once, by whichever thread finds the end.

    What it returns is run in the pool.
    """

    def _fire(self) -> Callable[[], object] | None: ...


class Claim(float):
    """A deadline that a user-made context only claims: shown, and never an end.

    `ends` is when the clock does end what is below it: INF, or the deadline of the
    context that a wrapper hands through.
    """

    __slots__ = ("ends",)

    ends: float

    def __new__(cls, claimed: float, ends: float = INF) -> Self:
        self = super().__new__(cls, claimed)
        self.ends = ends
        return self


@final
class End:
    """How a context ended: the error (ours by type, a user's by value), cause, when.

    `source` is the user-made context that reported it, if one did.
    """

    __slots__ = ("at", "cause", "error", "left", "source")

    def __init__(
        self,
        error: type[ContextError] | BaseException,
        cause: BaseException | None,
        at: float,
        *,
        left: bool = False,
        source: object = None,
    ) -> None:
        self.error = error
        self.cause = cause
        self.at = at
        self.left = left
        self.source = source


# What `_state` holds. Of a scope: where it is in its life. Of the others: their kind.
NEW, ENTERED, HELD, RELEASED, LEFT, ROOT, VALUE, DETACHED, ADOPTED = range(9)


@final
class _NoDeadline(Exception):
    """Stands in `_cause` of a node that has no deadline of its own."""


NO_DEADLINE = _NoDeadline()


class Node:
    """One context of the tree. See the invariants above."""

    __slots__ = (
        "__weakref__",
        "_base",  # Task.cancelling() when its block was entered
        "_cause",  # of its own deadline, or NO_DEADLINE
        "_code",  # where it was made: code object and
        "_deadline",  # float, INF for none, or a Claim
        "_end",
        "_hooks",  # what to tell: children that are hooked, and Hooks
        "_lasti",  # instruction in it; the line is worked out when asked for
        "_parent",  # for its text and values only
        "_span",  # the seconds of its own deadline, else the instant it was made
        "_state",
        "_tether_stack",  # of the task that is inside its block
        "_token",  # to set back what was current before its block
        "_up",  # the nearest node above it that can end
        "_values",  # the nearest value at or above it
    )

    _base: int
    _cause: BaseException | None
    _code: CodeType | None
    _deadline: float
    _end: End | float | None
    # The value is True for what does not need the node hooked into its parent.
    _hooks: dict[Hook | Node, bool | None] | None
    _lasti: int
    _parent: Context | None
    _span: float
    _state: int
    _tether_stack: Hook | None
    _token: Token[Context | Pending | None]
    _up: Node | None
    _values: Value | None

    # -- looking ---------------------------------------------------------------

    def _ended(self) -> End | None:
        """The end of this node, committed, if it is over by now."""
        end = self._end
        if end is None:
            node = self._up
            while node is not None:
                if node._end is not None:
                    return self._look()
                node = node._up
            deadline = self._deadline
            if deadline == INF or _clock.now() < deadline:
                return None
        elif end.__class__ is End:
            return end
        return self._look()

    def _look(self) -> End | None:
        """Find the earliest end on the chain above and commit it."""
        if isinstance(self._end, End):
            return self._end
        now = _clock.now()
        origin: Node | None = None
        first = INF
        expired = False
        node: Node | None = self
        while node is not None:
            deadline = node._deadline
            if deadline < first and deadline <= now and node._cause is not NO_DEADLINE:
                origin, first, expired = node, deadline, True
            end = node._end
            if isinstance(end, End):
                if origin is None or end.at < first:
                    return self._take(end)
                break
            if end is not None and end < first:
                origin, first, expired = node, end, False
            node = node._up
        if origin is None:
            return None
        if expired:
            end = End(DeadlineExceeded, origin._cause, first)
        else:
            end = End(Canceled, None, first, left=origin._state == LEFT)
        return self._take(origin._commit(end))

    def _take(self, end: End) -> End:
        """Commit an end found above to all on the way, so that none searches again."""
        node: Node | None = self
        while node is not None and not isinstance(node._end, End):
            node._commit(end)
            node = node._up
        assert isinstance(self._end, End)
        return self._end

    # -- ending ----------------------------------------------------------------

    def _commit(self, end: End) -> End:
        """End this node and all that is hooked below it; the end that it has then."""
        hooks: dict[Hook | Node, bool | None] | None
        with lock:
            before = self._end
            if before.__class__ is End:
                return before
            self._end = end
            hooks, self._hooks = self._hooks, None
            stack = self._tether_stack
            self._unhook()
            if hooks is None and stack is None:
                return end
            fired: list[Hook] = [] if stack is None else [stack]
            if hooks:
                _spread(hooks, end, fired)
        tell(fired)
        return end

    def _unhook(self) -> None:
        """Leave the parent, which leaves its own if nothing else needs it to be told.

        Under the lock. A node with a stack is an open block, which needs it itself.
        """
        node = self
        up = node._up
        while up is not None:
            # No point at which a handler could get in between a test and its use (6).
            hooks = up._hooks
            if hooks is None or hooks.pop(node, self) is self:
                break
            if _needed(hooks) or up._hooks is not hooks:
                break
            if not hooks:
                up._hooks = None
            if up._tether_stack is not None:
                break
            node, up = up, up._up

    # -- hanging on ------------------------------------------------------------

    def _attach(self, hook: Hook | Node) -> bool:
        """Tell `hook` of the end; False, and nothing is kept, if it has come."""
        if self._ended() is not None:
            return False
        self._hook_up(hook)
        # Something above may have ended, or the block been left (7), before the chain
        # was hooked. Then this look takes the hooks, ours among them, unless the block
        # was left too early to be told: in that case nobody has taken it.
        return self._ended() is None or not self._detach(hook)

    def _hook_up(self, item: Hook | Node) -> None:
        """Hook `item` into this node, this one into its parent, and so on."""
        node: Node | None = self
        with lock:
            while node is not None:
                hooks = node._hooks
                if hooks is None:
                    node._hooks = {item: None}
                elif item in hooks:
                    break
                else:
                    hooks[item] = None
                if isinstance(item, Node) and item._end.__class__ is End:
                    item._unhook()  # ended by a handler before it was hooked
                    break
                item, node = node, node._up

    def _attach_here(self, hook: Hook) -> bool:
        """Like `_attach`, but the node is not hooked into its parent for it."""
        if self._ended() is not None:
            return False
        with lock:
            if self._hooks is None:
                self._hooks = {}
            self._hooks[hook] = True
        return self._ended() is None or not self._detach(hook)

    def _detach(self, hook: Hook | Node) -> bool:
        """Take `hook` back; False if it is not there, because it is being told."""
        with lock:
            hooks = self._hooks
            if hooks is None or hook not in hooks:
                return False
            del hooks[hook]
            if not _needed(hooks):
                if not hooks:
                    self._hooks = None
                if self._tether_stack is None:
                    self._unhook()
        return True


def _needed(hooks: dict[Hook | Node, bool | None]) -> bool:
    """Whether a node with these must be hooked into its parent.

    At most one does not need it, the file descriptor.
    """
    return len(hooks) > 1 or None in [*hooks.values()]


def tell(hooks: Iterable[Hook]) -> None:
    """Fire them, and have the pool run what they return."""
    jobs = [job for hook in hooks if (job := hook._fire()) is not None]
    if jobs:
        _pool.submit(jobs)


def _spread(hooks: dict[Hook | Node, bool | None], end: End, fired: list[Hook]) -> None:
    """Commit `end` to every node hooked below; gather the other hooks in `fired`."""
    todo, ends = [hooks], [end]
    while todo:
        hooks, end = todo.pop(), ends.pop()
        at = end.at
        for hook in hooks:
            if not isinstance(hook, Node):
                fired.append(hook)
                continue
            mine = end
            before = hook._end
            if before is None and hook._deadline > at:
                hook._end = end
            else:
                if before.__class__ is End:
                    continue
                deadline = hook._deadline
                if deadline <= at and hook._cause is not NO_DEADLINE:
                    mine = End(DeadlineExceeded, hook._cause, deadline)
                if isinstance(before, float) and before <= mine.at:
                    mine = End(Canceled, None, before, left=hook._state == LEFT)
                if hook._end is not before:
                    continue  # a signal handler was quicker (6)
                hook._end = mine
            below, hook._hooks = hook._hooks, None
            if hook._tether_stack is not None:
                fired.append(hook._tether_stack)
            if below:
                todo.append(below)
                ends.append(mine)


if hasattr(os, "register_at_fork"):
    # A fork waits for the section that another thread is in, so the child finds a
    # whole tree; the lock itself it must make anew.
    os.register_at_fork(
        before=lock.acquire,
        after_in_parent=lock.release,
        after_in_child=lock._at_fork_reinit,  # type: ignore[attr-defined]
    )
