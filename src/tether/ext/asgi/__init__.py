"""ASGI: each request has a context that ends when its client goes away.

    app = ContextMiddleware(Starlette(routes=[...]), timeout=30.0)

Wrap it around everything else. In a handler `tether.current()` is the request's scope.
When the client closes the connection, or the time is up, the handler is interrupted in
its current `await`, and whatever was given the context ends with it. Out of time is
answered with 504, and with 503 if the service stops; once the response has begun, the
connection is closed instead.

A request begins with what its caller has left and with its id, as `tether.wire` reads
them, and the response carries that id. Both count from everybody: the time, because it
can only be shorter than ours; the id, because it is only a name. Values count from
callers that are trusted.

What costs a request something is kept from those that end within some milliseconds:
they have no task, no timer, and no context unless they ask for it. For a longer one a
task listens to the server, never more than one message ahead of the application, and
hands it what it read.

Two things are not seen, because they cannot be:

- A client that goes away while it still has to send more than one message of its body,
  or that waits for `100 Continue`, before the application reads: nobody may listen
  then. The timeout holds.
- A client that closes only its sending side: servers report it as gone.

A map, in the order in which to read it:

    _types                what goes to and fro
    _inbox                the listener
    _request              one request, between the application and the server
    _lookout              finds the requests that take longer
    _websocket            one connection of a websocket
    _middleware           ContextMiddleware
    _stop                 how a service stops: signals, times, reports
    _life                 one lifespan, held back until the stop is over
    _service              Service
"""

from ._middleware import ContextMiddleware
from ._service import Service
from ._types import ASGIApp, Connection

__all__ = ["ASGIApp", "Connection", "ContextMiddleware", "Service"]
