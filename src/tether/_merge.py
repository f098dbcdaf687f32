"""merge: a scope that ends with the first of several contexts.

The tree gives a node one parent, and here that is the first context. The others are
listened to from the scope's birth until its end, however it comes (`Ends`), so a merged
scope costs each of them an entry, and nothing is left there when it is over.

When another one ends first, the scope moves below it: so it takes that very end, its
error names the context that ended, and an end of a block around the task is known to be
that block's. A user-made context cannot be a parent; its end is captured as reported.

A deadline of the others is shown (a `Claim`), and comes by their end. The scope itself
compares the clock with the deadlines of its parents only, so one shared timer looks at
all of them when the first is due.
"""

from __future__ import annotations

import sys
from typing import final

from . import _clock, _timers
from ._clock import INF
from ._context import Context, _made_here
from ._errors import Canceled
from ._foreign import Foreign
from ._hooks import real_deadline
from ._line import context_
from ._scope import Scope
from ._tree import Claim, End, Node, lock


def merge(first: Context, /, *others: Context) -> Scope:
    """A scope that ends with the first of these contexts, by its error and cause.

    It has the values of the `first` one, and of the deadlines the nearest. For work
    that belongs to a request and must also stop with the server, or for a task that
    waits under a context of its own and one that it is handed:

        >>> from tether import background, merge
        >>> request = background().with_timeout(5.0)
        >>> server = background().with_cancel()
        >>> with merge(request, server) as both:
        ...     server.cancel(OSError("shutting down"))
        ...     both.cause()
        OSError('shutting down')
        >>> request.done()
        False

    Each of the others refers to the scope until that ends: leave it, by `with`, as any
    other.
    """
    context_("merge", first)
    nodes = [
        node
        for other in others
        if (node := context_("merge", other)._tether_node()) is not None
    ]
    scope = _made_here(first.with_cancel(), sys._getframe(1))
    if nodes:
        Ends(scope, nodes).listen()
    return scope


@final
class Ends:
    """Hangs on the other contexts, to end the scope; and on the scope, to let go."""

    __slots__ = ("_deadline", "_nodes", "_scope")

    def __init__(self, scope: Scope, nodes: list[Node]) -> None:
        self._scope = scope
        self._nodes = nodes
        claimed = min(node._deadline for node in nodes)
        if claimed < scope._deadline:
            scope._deadline = Claim(claimed)
        self._deadline = min(
            *(real_deadline(node) for node in nodes), real_deadline(scope._up)
        )

    def listen(self) -> None:
        scope = self._scope
        try:
            hooked = scope._attach(self) and all(
                node._attach(self) for node in self._nodes
            )
        except BaseException as exc:
            scope._commit(End(Canceled, exc, _clock.now()))  # nobody will get it
            raise
        if self._deadline != INF:
            _timers.threads.add(self)
        if not hooked or scope._ended() is not None:
            self._fire()  # one is over, or the scope was while this listened

    def _due(self) -> None:
        for node in (*self._nodes, self._scope):
            node._ended()

    def _fire(self) -> None:
        """One of them has ended, or the scope."""
        scope = self._scope
        if scope._ended() is None:
            self._end()
        if self._deadline != INF:
            _timers.threads.discard(self)
        for node in (*self._nodes, scope):
            node._detach(self)

    def _end(self) -> None:
        """End the scope by what ended first."""
        scope = self._scope
        ends = [(node, end) for node in self._nodes if (end := node._ended())]
        if not ends:
            # Told before it shows it, as in Watch._report.
            scope._commit(End(Canceled, None, _clock.now()))
            return
        node, end = min(ends, key=lambda one: one[1].at)
        if isinstance(node, Foreign):
            scope._commit(end)
            return
        with lock:
            if scope._end is None:
                scope._unhook()
                scope._up = node
        scope._ended()
