"""The context variable behind `current()`, written by scopes and who hands over.

It holds what was entered last in this task or thread. That may have been left since, by
another task or a collected generator that could not reach this variable, so who reads
it looks for the nearest that is still open. In place of a context it may hold a
`Pending`: most requests never ask for theirs, and making it costs more than answering
them.
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ._context import Context
    from ._scope import Scope


class Pending:
    """Stands for a context that nobody has asked for yet."""

    _tether_stack: Any = None  # of the task that it is a block of, when it is one
    scope: Scope | None = None  # the context, once it has been made

    def _tether_context(self) -> Context:
        """The context, made now if need be. In any task or thread, any number of times.

        Without its end when that does not count any more.
        """
        raise NotImplementedError


var: ContextVar[Context | Pending | None] = ContextVar("tether.current", default=None)
