"""httpx on httpcore: a canceled request keeps its place in the pool."""

from __future__ import annotations

import asyncio

import httpx

ANSWER = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while await reader.readuntil(b"\r\n\r\n"):
            writer.write(ANSWER)
    except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
        writer.close()  # canceled: by the end of this script


async def stuck(url: str, turns: int) -> bool | None:
    """Whether a second request finds no place; None: the first was over by then."""
    async with httpx.AsyncClient(
        limits=httpx.Limits(max_connections=1),
        timeout=httpx.Timeout(5.0, pool=0.2),
        verify=False,  # it takes time, and there is no TLS
    ) as http:
        task = asyncio.create_task(http.get(url))
        for _ in range(turns):
            await asyncio.sleep(0)
        if task.done():
            return None
        task.cancel()
        await asyncio.wait({task})
        try:
            await http.get(url)
        except httpx.PoolTimeout:
            return True
        return False


async def shown() -> str:
    """What is lost."""
    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    lost: list[int] = []
    for turns in range(1, 100):
        found = await stuck(f"http://{host}:{port}/", turns)
        if found is None:
            break
        if found:
            lost.append(turns)
    server.close()
    if not lost:
        return ""
    return f"canceled after {lost} turns, the next request raises PoolTimeout"


if __name__ == "__main__":
    print(asyncio.run(shown()) or "nothing is lost")
