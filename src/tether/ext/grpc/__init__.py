"""gRPC: calls that end with their context, on both sides, in threads and in tasks.

    server = grpc.server(pool, interceptors=[ServerInterceptor(timeout=30.0)])
    user = call(ctx, stub.GetUser, request)          # in a thread
    user = await call_async(ctx, stub.GetUser, request)

In a handler `tether.current()` is the call's scope: it has the caller's deadline, its
request id and the values that are believed, and ends when the caller cancels. A call
made within it has what is left then, so a chain of services agrees on one end.

A map, in the order in which to read it:

    _status _counting            codes; what is counted of a call
    _arrivals _trace             calls that wait for a handler; the trace of a caller
    _call                        one call in a server: its context, its status
    _requests _threads _tasks    how it gets there, in threads and in tasks
    _interceptor                 the settings of both
    _methods _outgoing           what a call takes along; what stands for it
    _generated                   streams that an interceptor has made generators of
    _blocking _awaiting          call and stream, in threads and in tasks
    _follow                      channels for code that knows no contexts
    _metrics                     for prometheus_client; loaded if asked for

gRPC has an event loop of its own in C, so uvloop makes no difference. A process that
has used it must not fork and go on using it (its own rule): start servers after a fork.
"""

from ._awaiting import AsyncResponses, call_async, stream_async
from ._blocking import Responses, call, stream
from ._follow import follow
from ._interceptor import Interceptor
from ._status import ServerStopped
from ._tasks import AioServerInterceptor
from ._threads import ServerInterceptor

__all__ = [
    "AioServerInterceptor",
    "AsyncResponses",
    "Interceptor",
    "Responses",
    "ServerInterceptor",
    "ServerStopped",
    "call",
    "call_async",
    "follow",
    "stream",
    "stream_async",
]
