"""Whose a task, a timer or a scope is: the watch in whose variables it was made.

Tests may run beside each other in one loop, and a session may have tasks of its own. A
context variable goes along with the work, so each thing is told by what it was made in.
"""

from __future__ import annotations

from contextvars import Context as Variables
from contextvars import ContextVar

owner: ContextVar[object] = ContextVar("tether.testing.owner", default=None)


def in_variables(variables: Variables | None) -> object:
    """Whose work has these variables; None: nobody's, or not to be seen."""
    return None if variables is None else variables.get(owner)
