"""redis-py: commands, pipelines, subscriptions and locks that end with their context.

    client = follow(redis.Redis())

    with ctx.with_timeout(2.0):
        item = client.blpop("queue")            # obeys the block it is in
    item = call(ctx, client.blpop, "queue")     # or: the context first

`follow` makes a client obey `current()`, `call` and `call_async` are for code that
hands its context on. Whatever waits ends: for an answer, for a message, for a
connection of the pool, for a lock, for the server to take the connection, for the next
try. What comes then is the context's error, with redis-py's as its `__cause__`. An
error of redis-py's own passes as it is while the context lasts.

How, and why not otherwise:

- What blocks in the server is ended by `CLIENT UNBLOCK` from another connection. The
  server says then that it was, or it has an item and sends that: nothing is popped for
  somebody who has gone, and the connection can be used at once.
- Every other call that is not awaited has its connection closed, because its answer
  would be taken for the answer to the next command.
- A subscription just stops waiting. It stays, and its next message is for the next one
  who asks.
- redis-py tries again after an error of the connection, and would issue the command
  anew that has just been ended. Its retries ask the context first.
- In a task the `await` is interrupted, and redis-py closes the connection.

What is private about that, in redis-py 5 to 8: `_connect` and `_sock` of a connection,
`_wrap_socket_with_ssl`, the `_backoff` of a `Retry`.
"""

from ._call import call as call
from ._call import call_async as call_async
from ._follow import follow as follow
from ._locks import AsyncLock as AsyncLock
from ._locks import Lock as Lock

__all__ = ["AsyncLock", "Lock", "call", "call_async", "follow"]
