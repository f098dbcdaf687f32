"""What the metrics and traces are told of; None where nobody wants to know.

As `_live.made`: whoever reports looks at one name of this module, and calls it if there
is somebody. The core knows no library of metrics, and they need not know each other.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ._context import Context
    from ._scope import Scope

# A call begins: how many seconds its context has left, or INF, and to whom it goes:
# SERVICE where headers for it are written, else the kind of the database.
SERVICE = "service"
calling: Callable[[float, str], None] | None = None

# A call begins, of this context, with this method, to this URL; "" for one of gRPC,
# whose method says it all. What it returns is told when the answer begins, or of the
# error that came instead.
hop: Callable[[Context, str, object], Callable[[BaseException | None], None]] | None = (
    None
)

# A statement runs within this context: on which kind of database, and what it says,
# which is text as a rule. The block is around it.
statement: Callable[[Context, str, object], AbstractContextManager[object]] | None = (
    None
)

# What was interrupted has ended: the function that `ctx.interrupting` has called for
# it, or what it was, and how many seconds after the end of its context.
released: Callable[[Callable[[], object] | str, float], None] | None = None

# Nobody has this scope any more: it has ended, or never will. From its finalizer, so
# in any thread, and in the middle of anything.
dropped: Callable[[Scope], None] | None = None

# Work was refused because its group is full: for this context.
shed: Callable[[Context], None] | None = None

# `to_thread` has left work behind: of this context.
abandoned: Callable[[Context], None] | None = None
