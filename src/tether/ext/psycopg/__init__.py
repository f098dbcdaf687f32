"""psycopg 3: statements, transactions and pools that end with their context.

    row = fetch_one(ctx, pool, "select name from users where id = %s", (7,))

    with transaction(ctx, pool) as conn:
        execute(ctx, conn, "update accounts set ...")
        execute(ctx, conn, "insert into ...")

`execute`, `fetch_one` and `fetch_all` are for threads and take a connection or a pool
of psycopg_pool; with `_async` at the end they do the same in tasks. `transaction` and
`guard` are for both: `with` for a connection or pool of threads, `async with` for one
of tasks. `guard` is for code that has a connection in hand and calls it by itself, or
through a library.

When the context ends, the statement is canceled in the server, which takes some
milliseconds and leaves the connection in order. If the server does not obey, the socket
is shut down after a grace of a second: the caller is back then, and the pool replaces
the connection. Either way what is raised is the context's error, with psycopg's as its
`__cause__`. Errors of psycopg's own pass as they are, those of an administrator's
cancel included, and a statement that was done all the same keeps its result.

A wait for a connection of a pool counts, too, and ends with the context; the pool's own
`timeout` stays the upper limit.
"""

from ._calls import execute as execute
from ._calls import execute_async as execute_async
from ._calls import fetch_all as fetch_all
from ._calls import fetch_all_async as fetch_all_async
from ._calls import fetch_one as fetch_one
from ._calls import fetch_one_async as fetch_one_async
from ._guard import guard as guard
from ._library import CommitUnknown as CommitUnknown
from ._transaction import transaction as transaction

__all__ = [
    "CommitUnknown",
    "execute",
    "execute_async",
    "fetch_all",
    "fetch_all_async",
    "fetch_one",
    "fetch_one_async",
    "guard",
    "transaction",
]
