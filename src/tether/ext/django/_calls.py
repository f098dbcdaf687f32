"""Blocks that end with a context."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

from tether import Context
from tether._calls import under
from tether._line import context_
from tether._loops import refuse_to_block

from ._connection import GUARDED, execute_wrapper, follow
from ._library import DEFAULT_DB_ALIAS, atomic, connections


@contextmanager
def guard(ctx: Context, connection: Any = None) -> Iterator[Any]:
    """A block in which whatever runs on a connection of Django's ends when `ctx` ends.

    `connection` is one of `django.db.connections`, by default the default one. In the
    block `ctx` is `current()`. It says nothing of transactions: `atomic` does.
    """
    context_("guard", ctx)
    refuse_to_block("guard", "it in a function for sync_to_async()")
    connection = _connection(connection)
    follow(connection)
    follows = execute_wrapper in connection.execute_wrappers
    wrapped = nullcontext() if follows else connection.execute_wrapper(execute_wrapper)
    with under(ctx.with_value(GUARDED, True)), wrapped:
        yield connection


@contextmanager
def transaction(
    ctx: Context, using: str | None = None, *, durable: bool = False
) -> Iterator[Any]:
    """An `atomic` block that is committed on success, and ends with `ctx`.

    On an error, and when `ctx` ends, it is rolled back. Inside another one it is a
    savepoint. `using` and `durable` are as in `atomic`.

    Raises `CommitUnknown` if the connection is lost during the commit.
    """
    context_("transaction", ctx)
    connection = connections[using or DEFAULT_DB_ALIAS]
    with guard(ctx, connection), atomic(using=using, durable=durable):
        yield connection
        ctx.check()


def _connection(connection: Any) -> Any:
    if connection is None:
        return connections[DEFAULT_DB_ALIAS]
    alias = getattr(connection, "alias", None)
    if alias is None or not hasattr(connection, "execute_wrappers"):
        raise TypeError(
            f"guard() takes a connection of django.db.connections, not {connection!r}"
        )
    return connections[alias]  # behind the proxy that django.db.connection is
