"""loop.sock_accept: canceled in the turn in which a connection arrives, it drops it."""

from __future__ import annotations

import asyncio
import socket
import warnings
from typing import Any


async def shown() -> str:
    """What is lost."""
    loop = asyncio.get_running_loop()
    said: list[dict[str, Any]] = []
    loop.set_exception_handler(lambda _, context: said.append(context))
    with (
        warnings.catch_warnings(action="ignore"),  # of the dropped socket
        socket.create_server(("127.0.0.1", 0)) as listener,
    ):
        listener.setblocking(False)
        accepting = asyncio.create_task(loop.sock_accept(listener))
        await asyncio.sleep(0)
        with socket.create_connection(listener.getsockname()):
            loop.call_soon(accepting.cancel)  # runs just before the loop accepts
            await asyncio.wait({accepting})
            await asyncio.sleep(0.01)
            try:
                async with asyncio.timeout(0.1):
                    again, _ = await loop.sock_accept(listener)
            except TimeoutError:
                error = said[0]["exception"] if said else None
                said.clear()
                return f"the connection is gone; the loop complains of {error!r}"
            again.close()
    return ""


if __name__ == "__main__":
    print(asyncio.run(shown()) or "nothing is lost")
