"""The library itself, and what the functions of this package are given."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

try:
    import sqlalchemy
except ModuleNotFoundError:
    raise ModuleNotFoundError(
        'tether.ext.sqlalchemy needs SQLAlchemy 2: pip install "tether[sqlalchemy]"',
        name="sqlalchemy",
    ) from None

from sqlalchemy import Connection, Engine
from sqlalchemy.ext.asyncio import (
    AsyncConnection,
    AsyncEngine,
    AsyncSession,
    async_scoped_session,
    async_sessionmaker,
)
from sqlalchemy.orm import Session, scoped_session, sessionmaker
from sqlalchemy.util import await_only, greenlet_spawn

if TYPE_CHECKING:
    # What can have a block of its own, and what `transaction` can make one from.
    Guarded: TypeAlias = Engine | Connection | Session | scoped_session[Any]
    AsyncGuarded: TypeAlias = (
        AsyncEngine | AsyncConnection | AsyncSession | async_scoped_session[Any]
    )

__all__ = [
    "AsyncConnection",
    "AsyncEngine",
    "AsyncGuarded",
    "AsyncSession",
    "Connection",
    "Engine",
    "Guarded",
    "Session",
    "async_scoped_session",
    "async_sessionmaker",
    "await_only",
    "greenlet_spawn",
    "in_tasks",
    "scoped_session",
    "sessionmaker",
    "sqlalchemy",
]

_THREADS = (Engine, Connection, Session, scoped_session, sessionmaker)
_TASKS = (
    AsyncEngine,
    AsyncConnection,
    AsyncSession,
    async_scoped_session,
    async_sessionmaker,
)


def in_tasks(source: object) -> bool:
    """Whether it belongs to tasks; TypeError if it is nothing of SQLAlchemy's."""
    if isinstance(source, _TASKS):
        return True
    if isinstance(source, _THREADS):
        return False
    raise TypeError(
        f"an engine, a connection or a session of SQLAlchemy is needed, not {source!r}"
    )
