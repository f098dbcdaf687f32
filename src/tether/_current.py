"""The context variable behind `current()`, written by scopes and who hands over.

It holds what was entered last in this task or thread. That may have been left since, by
another task or a collected generator that could not reach this variable, so who reads
it looks for the nearest that is still open.
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ._context import Context

var: ContextVar[Context | None] = ContextVar("tether.current", default=None)
