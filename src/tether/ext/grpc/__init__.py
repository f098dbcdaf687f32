"""gRPC: calls that end with their context, on both sides, in threads and in tasks.

    server = grpc.server(pool, interceptors=[ServerInterceptor(timeout=30.0)])
    user = call(ctx, stub.GetUser, request)          # in a thread
    user = await call_async(ctx, stub.GetUser, request)

In a handler `tether.current()` is the call's scope: it has the caller's deadline, its
request id and the values that are believed, and ends when the caller cancels. A call
made within it has what is left then, so a chain of services agrees on one end.

`_serving` is one call in a server, `_threads` and `_tasks` how it gets there, and
`_interceptor` their settings; `_outgoing` is what a call takes along, `_calls`,
`_follow` and `_client_interceptors` who makes it. `_metrics` is loaded if asked for.

gRPC has an event loop of its own in C, so uvloop makes no difference. A process that
has used it must not fork and go on using it (its own rule): start servers after a fork.
"""

from ._calls import call, call_async, stream, stream_async
from ._client_interceptors import client_interceptors
from ._follow import follow
from ._interceptor import Interceptor
from ._status import ServerStopped
from ._tasks import AioServerInterceptor
from ._threads import ServerInterceptor

__all__ = [
    "AioServerInterceptor",
    "Interceptor",
    "ServerInterceptor",
    "ServerStopped",
    "call",
    "call_async",
    "client_interceptors",
    "follow",
    "stream",
    "stream_async",
]
