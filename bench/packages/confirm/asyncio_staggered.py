"""open_connection(happy_eyeballs_delay=...): a connected socket is dropped, open."""

from __future__ import annotations

import asyncio
import socket
from unittest import mock


async def shown() -> str:
    """What is lost."""
    loop = asyncio.get_running_loop()
    connect = loop.sock_connect
    sockets: list[socket.socket] = []

    async def connect_and_cancel(sock: socket.socket, address: object) -> None:
        sockets.append(sock)
        await connect(sock, address)  # type: ignore[arg-type]
        loop.call_soon(task.cancel)  # it is connected, and nobody has it yet

    with socket.create_server(("127.0.0.1", 0)) as server:
        with mock.patch.object(loop, "sock_connect", connect_and_cancel):
            port = server.getsockname()[1]
            task = asyncio.create_task(
                asyncio.open_connection("127.0.0.1", port, happy_eyeballs_delay=0.25)
            )
            await asyncio.wait({task})
    await asyncio.sleep(0.01)
    still_open = [one for one in sockets if one.fileno() != -1]
    for one in still_open:
        one.close()
    return f"{len(still_open)} connected socket is dropped, open" if still_open else ""


if __name__ == "__main__":
    print(asyncio.run(shown()) or "nothing is lost")
