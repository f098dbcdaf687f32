"""asyncpg.connect: canceled early, it leaves an error that nobody retrieves."""

from __future__ import annotations

import asyncio
import gc
from typing import Any

import asyncpg


async def connecting(turns: int) -> str:
    """What the loop says if it is canceled so many turns after it was accepted."""
    loop = asyncio.get_running_loop()
    said: list[dict[str, Any]] = []
    loop.set_exception_handler(lambda _, context: said.append(context))

    async def accepted(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for _turn in range(turns):
            await asyncio.sleep(0)
        tasks.pop().cancel()
        writer.close()

    server = await asyncio.start_server(accepted, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    work = asyncpg.connect(host=host, port=port, user="nobody", database="none")
    tasks = [asyncio.create_task(work)]
    await asyncio.wait(tasks)
    server.close()
    await asyncio.sleep(0.01)
    gc.collect()
    texts = [f"{one['message']}: {one.get('exception')}" for one in said]
    said.clear()
    return next(iter(texts), "")


async def shown() -> str:
    """What the loop says."""
    for turns in range(6):
        said = await connecting(turns)
        if said:
            return said
    return ""


if __name__ == "__main__":
    print(asyncio.run(shown()) or "the loop says nothing")
