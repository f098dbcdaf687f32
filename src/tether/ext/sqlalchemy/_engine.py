"""What is changed on an engine, so that its statements end with a context.

SQLAlchemy makes every call of a driver through its dialect, one object for an engine
and its connections. The methods of that object are replaced, because its events come
before and after a call, and what is needed is a block around it. Where an event does,
it is used: for errors, and for a pool that is made anew.

The changes stay. A call is stopped if the context that is current to it can end, and
either the engine was given to `attach` or the context comes out of a `guard`.
"""

from __future__ import annotations

from asyncio import CancelledError
from collections.abc import Callable
from functools import partial
from threading import Lock
from typing import Any, TypeVar, final
from weakref import WeakSet

from sqlalchemy import event
from sqlalchemy.pool.base import _AdhocProxiedConnection

from tether import Context, ContextError, Key, current
from tether._calls import can_end, instead_of, statement
from tether._errors import CommitUnknown
from tether._fetching import Fetching
from tether._outlast import outlasting

from ._drivers import Driver, Held, alone, holding, raw_
from ._library import Engine, await_only, greenlet_spawn
from ._pool import connected, follow_pool

T = TypeVar("T")

ROLL_BACK = 1.0  # seconds for a roll-back
GUARDED: Key[bool] = Key("tether.ext.sqlalchemy")  # on the contexts of `guard`
_NAME = "_tether_following"
_lock = Lock()  # an engine is changed once


def following(engine: Engine) -> Following:
    """What makes this engine follow contexts, begun if need be."""
    with _lock:
        found: Following | None = getattr(engine.dialect, _NAME, None)
        if found is None:
            found = Following(engine)
            setattr(engine.dialect, _NAME, found)
    return found


@final
class Following:
    """The methods in place of those of a dialect; each is given the original first."""

    def __init__(self, engine: Engine) -> None:
        dialect: Any = engine.dialect
        self.always = False  # whatever context is current counts
        self._driver = Driver(dialect)
        self._system: str = dialect.name
        # Connections on which a statement has failed since their transaction began.
        self._suspect: WeakSet[Any] = WeakSet()
        for name, method in (
            ("connect", self._connect),
            ("do_ping", self._ping),
            ("do_execute", self._execute),
            ("do_execute_no_params", self._execute),
            ("do_executemany", self._execute),
            ("do_commit", self._commit),
            ("do_rollback", self._roll_back),
            ("do_rollback_to_savepoint", self._roll_back_to_savepoint),
        ):
            setattr(dialect, name, partial(method, getattr(dialect, name)))
        event.listen(engine, "handle_error", _handle_error)
        event.listen(engine, "engine_disposed", self._follow_pool)
        self._follow_pool(engine)

    def context(self) -> Context | None:
        """The context that counts here and now, if any does."""
        ctx = current()
        if ctx.value(GUARDED, False) or (self.always and can_end(ctx)):
            return ctx
        return None

    def _follow_pool(self, engine: Engine) -> None:
        follow_pool(engine.pool, self.context)

    # -- connections -----------------------------------------------------------

    def _connect(self, original: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        ctx = self.context()
        if ctx is None:
            return original(*args, **kwargs)
        return connected(ctx, self._driver, partial(original, *args, **kwargs))

    def _ping(self, original: Callable[[Any], bool], conn: Any) -> bool:
        ctx = self.context()
        if ctx is None:
            return original(conn)
        try:
            return self._driver.within(ctx, conn, partial(original, conn))
        except Held as held:  # nobody is on the way who would take it out
            raise held.take() from None

    # -- statements ------------------------------------------------------------

    def _execute(self, original: Callable[..., None], cursor: Any, *args: Any) -> None:
        ctx = self.context()
        execution = args[-1]
        call = partial(original, cursor, *args)
        if execution is None:
            call()
            return
        conn = execution.root_connection.connection
        try:
            if ctx is None:
                call()
                return
            with statement(ctx, self._system, args[0]):
                self._within(ctx, conn, call)
        except BaseException:
            self._note(conn, failed=True)
            raise
        if execution._is_server_side or self._driver.fetches_late:
            execution.cursor = Fetching(cursor, partial(self._fetch, conn))

    def _fetch(self, conn: Any, call: Callable[[], T]) -> T:
        ctx = self.context()
        return call() if ctx is None else self._within(ctx, conn, call)

    def _within(self, ctx: Context, conn: Any, call: Callable[[], T]) -> T:
        try:
            return self._driver.within(ctx, conn, call)
        finally:
            if conn.is_valid and self._driver.is_lost(conn):
                # The pool replaces it. SQLAlchemy would take all of them for lost.
                self._outlasting(ctx, conn.invalidate)

    def _note(self, conn: Any, *, failed: bool) -> bool:
        """Whether a statement had failed; whether one has, from now on."""
        if self._driver.peer is None or not conn.is_valid:
            return False
        had = raw_(conn) in self._suspect
        (self._suspect.add if failed else self._suspect.discard)(raw_(conn))
        return had

    # -- ends of transactions --------------------------------------------------

    def _commit(self, original: Callable[[Any], None], conn: Any) -> None:
        ctx = self.context()
        if ctx is None:
            original(conn)
            return
        if self._note(conn, failed=False):
            _refuse_aborted(conn)
        self._outlasting(ctx, partial(self._commit_within, ctx, original, conn))

    def _commit_within(
        self, ctx: Context, original: Callable[[Any], None], conn: Any
    ) -> None:
        begun = done = False

        def commit() -> None:
            nonlocal begun, done
            begun = True
            original(conn)
            done = True

        try:
            self._driver.within(ctx, conn, commit, apart=alone)
        except Exception as exc:
            if done and isinstance(exc, ContextError | Held):
                return  # the end came with the answer
            if begun and self._driver.is_lost(conn):
                raise CommitUnknown from exc
            raise
        finally:
            if conn.is_valid and self._driver.is_lost(conn):
                conn.invalidate()

    def _roll_back(self, original: Callable[[Any], None], conn: Any) -> None:
        ctx = self.context()
        self._note(conn, failed=False)
        if ctx is None:
            original(conn)
            return
        try:
            self._outlasting(ctx, partial(self._roll_back_in_time, ctx, original, conn))
        except Held as held:
            if isinstance(conn, _AdhocProxiedConnection):
                # The engine's first connection, before anybody has it: as in _ping.
                raise held.take() from None
            raise

    def _roll_back_in_time(
        self, ctx: Context, original: Callable[[Any], None], conn: Any
    ) -> None:
        if self._driver.peer is None or self._driver.is_lost(conn):
            original(conn)
            return
        try:
            with ctx.without_cancel().with_timeout(ROLL_BACK) as rest:
                self._driver.within(rest, conn, partial(original, conn), apart=alone)
        except (ContextError, Held):
            if conn.is_valid:
                conn.invalidate()  # which rolls back as well

    def _roll_back_to_savepoint(
        self, original: Callable[[Any, str], None], connection: Any, name: str
    ) -> None:
        ctx = self.context()
        if ctx is None:
            original(connection, name)
            return
        with ctx.without_cancel().with_timeout(ROLL_BACK):
            original(connection, name)  # which executes a statement

    def _outlasting(self, ctx: Context, call: Callable[[], object]) -> None:
        """Make a call which in a task nothing interrupts that happens to the task."""
        if not self._driver.in_tasks:
            call()
            return
        with holding():
            try:
                await_only(outlasting(greenlet_spawn(call)))
            except ContextError as exc:
                # It did not know of the blocks of this task.
                instead_of(exc.__cause__ or exc, ctx)
                raise


def _refuse_aborted(conn: Any) -> None:
    """Fail where a COMMIT would be a ROLLBACK, of which PostgreSQL would not tell.

    A statement that was stopped, and a block that has gone on, make such a transaction.
    """
    cursor = conn.cursor()
    try:
        cursor.execute("select 1")
    finally:
        cursor.close()


def _handle_error(context: Any) -> None:
    """Let out what was held; and keep a connection that is in order."""
    exc = context.original_exception
    if isinstance(exc, Held):
        interruption = exc.take()
        if context.execution_context is not None:
            _close(context.execution_context.cursor, in_task=context.dialect.is_async)
        raise interruption
    if isinstance(exc, ContextError):
        context.is_disconnect = False


def _close(cursor: Any, *, in_task: bool) -> None:
    """What SQLAlchemy itself would do if the handler returned."""
    try:
        if in_task:
            await_only(outlasting(greenlet_spawn(cursor.close)))
        else:
            cursor.close()
    except (Exception, CancelledError):
        pass  # what is raised instead says more, and interrupts as well
