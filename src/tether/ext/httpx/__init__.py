"""httpx and httpx2: requests that end with their context, and carry it on.

    http = AsyncClient(base_url="http://shop")       # or Client, for threads
    response = await http.get(ctx, "/users/7")

`Client` and `AsyncClient` take a context first and are otherwise as httpx's. For code
that cannot pass one there are transports, which ask `current()`:

    client = httpx.Client(transport=Transport())

Either way the context bounds all of it, redirects and retries included: the wait for a
connection of the pool, the name, all addresses, TLS, the headers, and a body that
drips, until the response is closed. What comes then is the context's error, with
httpx's as its `__cause__` if there was one. An error of httpx's own passes as it is
while the context lasts, and its timeouts hold beside the context.

The same code serves httpx2: `Client(httpx2.Client())`, `Transport(
httpx2.HTTPTransport())`. Without an argument it is httpx, and httpx2 where that is
missing.

How: in a task each call, and each wait for a piece of the body, is made in a scope
below the context, and interrupted in its `await`. In a thread the transport's network
backend makes each call on a socket inside `tether._calls.cutting`. What is private
about that, in httpx 0.28, httpx2 2.16 and their httpcore: the `_transport` and
`_mounts` of a client; the `_pool` of a transport; that pool's `_network_backend`, and
its `_requests` and `_optional_thread_lock`, to reach who waits for a connection; and
the stream of httpcore's own backend. `Transport` says so where it does not find them. A
transport without a pool (`MockTransport`, `WSGITransport`) has no socket to be cut.
"""

from ._clients import AsyncClient as AsyncClient
from ._clients import Client as Client
from ._clients import Options as Options
from ._transports import AsyncTransport as AsyncTransport
from ._transports import Transport as Transport

__all__ = ["AsyncClient", "AsyncTransport", "Client", "Options", "Transport"]
