"""One connection of a websocket."""

from __future__ import annotations

from tether import ClientDisconnected, ContextError, Scope
from tether._behalf import release, tells_of

from ._types import ASGIApp, Connection, Message, Receive, Send, named

GOING_AWAY = 1001


async def serve(
    app: ASGIApp,
    ctx: Scope,
    ident: str,
    connection: Connection,
    receive: Receive,
    send: Send,
) -> None:
    """Run the application with `ctx` as the context of the connection.

    It is not listened to: the application hears of its client by its own `receive()`.
    From then on the context is over for whoever has it, and the application itself is
    not interrupted while it cleans up.
    """
    over = False

    async def hear() -> Message:
        nonlocal over
        message = await receive()
        if message["type"] == "websocket.disconnect":
            over = True
            release(ctx)
            ctx.cancel(ClientDisconnected())
        return message

    async def note(message: Message) -> None:
        nonlocal over
        over = over or message["type"] == "websocket.close"
        if message["type"] == "websocket.accept":
            message = named(message, ident)
        await send(message)

    try:
        with ctx:
            await app(connection, hear, note)
    except ContextError as exc:
        if not tells_of(exc, ctx):
            raise
        if not over:
            await note({"type": "websocket.close", "code": GOING_AWAY})
