"""A small HTTP service in a process of its own: nothing of it is in this one."""

from __future__ import annotations

import asyncio
import atexit
import subprocess
import sys
from functools import cache

HEAD = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n"


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer each request: /large with 4 kB in four pieces, all else with two bytes."""
    try:
        while head := await reader.readuntil(b"\r\n\r\n"):
            if head.startswith(b"GET /large"):
                writer.write(HEAD % 4000 + b"x" * 1000)
                for _ in range(3):
                    await asyncio.sleep(0.01)
                    writer.write(b"x" * 1000)
            else:
                await asyncio.sleep(0.002)
                writer.write(HEAD % 2 + b"ok")
                await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    finally:
        writer.close()


async def serve() -> None:
    """Serve until the input ends."""
    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


@cache
def port() -> int:
    """Where it listens; it is started at the first call, and ends with this process."""
    process = subprocess.Popen(
        [sys.executable, __file__],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    atexit.register(process.communicate)  # closes its input, and waits
    return int(process.stdout.readline())


def url() -> str:
    """The same for HTTP clients."""
    return f"http://127.0.0.1:{port()}"


if __name__ == "__main__":
    asyncio.run(serve())
