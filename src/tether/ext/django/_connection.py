"""What is changed on a connection of Django's, so that it follows contexts.

Statements have a public way in, the execute wrapper. What that does not see is replaced
on the connection: `get_new_connection`, which is for backends to override, and
`_commit` and `_rollback`, which are private (Django 4.2 to 6.1).

Everything runs in threads: in an async view Django makes its calls in one.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

from tether import Context, ContextError, Key, current
from tether import _sqlite as sqlite
from tether._calls import can_end, statement
from tether._elsewhere import fetched
from tether._errors import CommitUnknown
from tether._fetching import Fetching
from tether._loops import running_loop
from tether._postgres import Psycopg, lost
from tether._stopping import stopping

from ._library import Error, TransactionManagementError, connections

T = TypeVar("T")

ROLL_BACK = 1.0  # seconds for a roll-back
INERROR = 3  # PQTRANS_INERROR: a statement of the transaction has failed
GUARDED: Key[bool] = Key("tether.ext.django")  # on the contexts of `guard`
_ALWAYS = "_tether_follows"  # on a connection: True, whatever context is current counts
_ENDS_A_SAVEPOINT = ("ROLLBACK TO SAVEPOINT", "RELEASE SAVEPOINT")


def follow_all() -> None:
    """Have all connections of this process follow `current()`, those to come as well.

    Those that other threads have open already do not.
    """
    create = connections.create_connection
    if getattr(create, "func", None) is _created:
        return
    connections.create_connection = partial(_created, create)
    for connection in connections.all(initialized_only=True):
        _always(connection)


def _created(create: Callable[[str], Any], alias: str) -> Any:
    return _always(create(alias))


def _always(connection: Any) -> Any:
    follow(connection)
    connection.__dict__[_ALWAYS] = True
    if execute_wrapper not in connection.execute_wrappers:
        # Outermost. The last one is taken away by whoever leaves a block of theirs.
        connection.execute_wrappers.insert(0, execute_wrapper)
    return connection


def follow(connection: Any) -> None:
    """Have what surrounds the statements of a connection follow contexts."""
    if _ALWAYS in connection.__dict__:
        return
    connection.__dict__[_ALWAYS] = False
    for name, method in (
        ("get_new_connection", _connect),
        ("_commit", _commit),
        ("_rollback", _roll_back),
    ):
        original = getattr(connection, name)
        setattr(connection, name, partial(method, connection, original))


def _context(connection: Any) -> Context | None:
    ctx = current()
    if ctx.value(GUARDED, False) or (connection.__dict__[_ALWAYS] and can_end(ctx)):
        return ctx
    return None


# -- statements ----------------------------------------------------------------------


def execute_wrapper(
    execute: Callable[[str, Any, bool, dict[str, Any]], T],
    sql: str,
    params: Any,
    many: bool,
    context: dict[str, Any],
) -> T:
    """A wrapper for `connection.execute_wrapper`: statements end with `current()`."""
    ctx = current()
    call = partial(execute, sql, params, many, context)
    if not can_end(ctx):
        return call()
    connection, cursor = context["connection"], context["cursor"]
    if sql.startswith(_ENDS_A_SAVEPOINT):
        # Part of a roll-back, or of a block whose own end is looked at.
        with ctx.without_cancel().with_timeout(ROLL_BACK) as rest:
            return _within(rest, connection, call)
    with statement(ctx, connection.vendor, sql):
        result = _within(ctx, connection, call)
    raw = cursor.cursor
    if not isinstance(raw, Fetching) and (
        connection.vendor == "sqlite" or hasattr(raw, "scrollable")
    ):
        cursor.cursor = Fetching(raw, partial(_fetch, connection))
    return result


def _fetch(connection: Any, call: Callable[[], T]) -> T:
    ctx = current()
    return _within(ctx, connection, call) if can_end(ctx) else call()


def _within(ctx: Context, connection: Any, call: Callable[[], T]) -> T:
    """The result of a call on a connection, which ends when `ctx` ends."""
    raw = connection.connection
    if running_loop() is None:
        if _is_of_postgresql(connection) and not lost(raw):
            try:
                with stopping(ctx, Psycopg(raw)):
                    return call()
            finally:
                if lost(raw) and not connection.in_atomic_block:
                    connection.close()  # the next statement connects
        if connection.vendor == "sqlite":
            return sqlite.call(ctx, raw, call)
    # Nothing is known of how to stop it, or it blocks a loop, where nothing may wait.
    ctx.check()
    result = call()
    ctx.check()
    return result


def _is_of_postgresql(connection: Any) -> bool:
    """Whether it is one of psycopg 3, the one that is known."""
    return connection.vendor == "postgresql" and hasattr(
        connection.connection, "cancel_safe"
    )


# -- connections ---------------------------------------------------------------------


def _connect(
    connection: Any, original: Callable[[dict[str, Any]], Any], params: dict[str, Any]
) -> Any:
    ctx = _context(connection)
    if ctx is None or connection.vendor != "postgresql" or running_loop() is not None:
        return original(params)

    def give_back(raw: Any) -> None:
        pool = getattr(connection, "pool", None)
        if pool:
            pool.putconn(raw)
        else:
            raw.close()

    return fetched(ctx, partial(original, params), give_back)


# -- ends of transactions ------------------------------------------------------------


def _commit(connection: Any, original: Callable[[], None]) -> None:
    ctx = _context(connection)
    raw = connection.connection
    if ctx is None or raw is None:
        original()
        return
    of_postgresql = _is_of_postgresql(connection)
    if of_postgresql and raw.pgconn.transaction_status == INERROR:
        raise TransactionManagementError(
            "a statement of this transaction has failed and the block has gone on, so "
            "there is nothing to commit; put a statement that may fail in an atomic() "
            "of its own"
        )
    begun = done = False

    def commit() -> None:
        nonlocal begun, done
        begun = True
        original()
        done = True

    try:
        _within(ctx, connection, commit)
    except Exception as exc:
        if done and isinstance(exc, ContextError):
            return  # the end came with the answer
        if begun and of_postgresql and lost(raw):
            _drop(connection)
            raise CommitUnknown from exc
        if isinstance(exc, ContextError):
            connection._rollback()  # Django does for its own errors
        raise


def _roll_back(connection: Any, original: Callable[[], None]) -> None:
    ctx = _context(connection)
    raw = connection.connection
    if ctx is None or raw is None or not _is_of_postgresql(connection):
        original()
        return
    if lost(raw):
        _drop(connection)
        return
    try:
        with ctx.without_cancel().with_timeout(ROLL_BACK) as rest:
            with stopping(rest, Psycopg(raw)):
                original()
    except ContextError:
        _drop(connection)


def _drop(connection: Any) -> None:
    """Close it, which rolls back; the next statement connects, not the `atomic`."""
    try:
        connection.close()
    except Error:
        pass
    connection.closed_in_transaction = True
