"""Django: what a request asks a database ends with the request.

    MIDDLEWARE = ["tether.ext.django.ContextMiddleware", ...]

From then on the ORM, raw cursors and `atomic` follow `current()`, in sync views and in
what async views do in threads. For code that has a context in hand there are `guard`
and `transaction`, and `execute_wrapper` for a connection of your own.

When the context ends, the statement is canceled in the server, which takes some
milliseconds and leaves the connection in order. If the server does not obey, the socket
is shut down after a grace of a second, and the connection is replaced. Either way what
is raised is the context's error, with Django's or the driver's as its `__cause__`, and
`atomic` rolls back, for which it has a second of its own. Errors of Django's own pass
as they are, those of an administrator's cancel included.

That is so on PostgreSQL with psycopg (3), and on SQLite. On another database the
context is looked at before a statement and after it, and no more.
"""

from tether._errors import CommitUnknown as CommitUnknown

from ._calls import guard as guard
from ._calls import transaction as transaction
from ._connection import execute_wrapper as execute_wrapper
from ._middleware import ContextMiddleware as ContextMiddleware

__all__ = [
    "CommitUnknown",
    "ContextMiddleware",
    "execute_wrapper",
    "guard",
    "transaction",
]
