"""SQLAlchemy 2: statements, transactions and pools that end with their context.

    with transaction(ctx, Session) as session:               # a sessionmaker
        session.add(Order(...))

`transaction` and `guard` take an engine, a connection or a session: `with` for those of
threads, `async with` for those of tasks. `execute` and `execute_async` run one
statement. For code that cannot pass a context there is `attach(engine)`: from then on
all that runs on the engine follows `current()`.

When the context ends, the statement is canceled in the server, which takes some
milliseconds and leaves the connection in order, also in tasks, where SQLAlchemy throws
it away if the task is canceled. If the server does not obey, the socket is shut down
after a grace of a second: the caller is back then, and the pool replaces the
connection. Either way what is raised is the context's error, with the driver's as its
`__cause__`. Errors of SQLAlchemy's pass as they are, those of an administrator's cancel
included, and a statement that was done all the same keeps its result.

A wait for a connection of the pool, or for a new one, ends with the context, too; the
pool's own `timeout` stays the upper limit. A roll-back has a second of its own.

The drivers that can be stopped are psycopg (3) and asyncpg, and sqlite3 and aiosqlite.
With another one the context is looked at before a call and after it, and no more; so it
is with an engine for threads that is used on an event loop, where nothing may wait.
"""

from tether._errors import CommitUnknown as CommitUnknown

from ._calls import attach as attach
from ._calls import execute as execute
from ._calls import execute_async as execute_async
from ._calls import guard as guard
from ._calls import transaction as transaction

__all__ = [
    "CommitUnknown",
    "attach",
    "execute",
    "execute_async",
    "guard",
    "transaction",
]
