"""The library itself, and what the functions of this package are given."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from tether import Context
from tether._errors import CommitUnknown
from tether._line import context_
from tether._loops import refuse_to_block

try:
    import psycopg
except ModuleNotFoundError:
    raise ModuleNotFoundError(
        'tether.ext.psycopg needs psycopg 3: pip install "tether[psycopg]"',
        name="psycopg",
    ) from None

if TYPE_CHECKING:
    from psycopg import AsyncConnection, Connection
    from psycopg.abc import Params, Query
    from psycopg_pool import AsyncConnectionPool, ConnectionPool

R = TypeVar("R")

__all__ = [
    "AsyncSource",
    "CommitUnknown",
    "Params",
    "Query",
    "R",
    "Source",
    "check",
    "check_async",
    "context_",
    "is_async",
    "psycopg",
]

if TYPE_CHECKING:
    # A connection, or a pool of them.
    Source: TypeAlias = Connection[R] | ConnectionPool[Connection[R]]
    AsyncSource: TypeAlias = (
        AsyncConnection[R] | AsyncConnectionPool[AsyncConnection[R]]
    )
else:
    Source = AsyncSource = Params = Query = Any


def is_async(source: object) -> bool:
    """Whether it belongs to tasks; TypeError if it is nothing of psycopg's."""
    if isinstance(source, psycopg.Connection):
        return False
    if isinstance(source, psycopg.AsyncConnection):
        return True
    pools = sys.modules.get("psycopg_pool")  # whoever has a pool has loaded it
    if pools is not None:
        if isinstance(source, pools.ConnectionPool):
            return False
        if isinstance(source, pools.AsyncConnectionPool):
            return True
    raise TypeError(
        f"a connection of psycopg 3 or a pool of psycopg_pool is needed, not {source!r}"
    )


def check(ctx: Context, name: str, source: object) -> None:
    """Refuse what is no context, or no source for threads."""
    context_(name, ctx)
    if is_async(source):
        raise TypeError(
            f"{name}() is for threads and {source!r} for tasks: await {name}_async(...)"
        )
    refuse_to_block(name, f"await {name}_async(...), with an AsyncConnection")


def check_async(ctx: Context, name: str, source: object) -> None:
    """Refuse what is no context, or no source for tasks."""
    context_(name, ctx)
    if not is_async(source):
        raise TypeError(
            f"{name}() is for tasks and {source!r} would block the event loop; "
            f"call {name.removesuffix('_async')}() in a thread"
        )
