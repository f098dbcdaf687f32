"""requests: calls that end with their context, and carry it on.

    http = Session()
    response = http.get(ctx, "http://shop/users/7")

`Session` takes a context first and is otherwise as requests'. For code that cannot pass
one, and calls a session of its own, there is an adapter, which asks `current()`:

    session.mount("https://", Adapter())

Either way the context bounds all of it: the wait for a connection of a blocking pool,
the name, all addresses, TLS, the headers, a body that drips, each redirect, and the
retries with their pauses. What comes then is the context's error, with requests' as its
`__cause__`. An error of requests' own passes as it is while the context lasts.

How: the connection pools of urllib3 are told by their managers which classes to use.
Those classes connect by themselves, and put an object in the place of the socket that
makes each call inside `tether._calls.cutting`, with the context of the request that has
the connection. What is private about that, in urllib3 2: `_get_conn`, `_put_conn` and
`_new_conn` of its pools and connections, and `_io_refs` of a socket, which counts the
files made of it. A SOCKS proxy has connections of its own; there only the error is
ours, and comes when requests' timeout lets it.
"""

from ._adapter import Adapter as Adapter
from ._session import Options as Options
from ._session import Session as Session

__all__ = ["Adapter", "Options", "Session"]
