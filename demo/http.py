"""One request on a connection of its own, as plainly as can be.

For the load, the health checks and the looks at the pods: what measures should cost
little, and should not be what is measured.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any


async def request(
    port: int, method: str, path: str, headers: str = "", body: bytes = b""
) -> tuple[int, bytes]:
    """The status and the body; `OSError` if there is no whole answer."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(
            f"{method} {path} HTTP/1.1\r\nHost: shop\r\nConnection: close\r\n"
            f"Content-Length: {len(body)}\r\n{headers}\r\n".encode()
            + body
        )
        answer = await reader.read(-1)
    finally:
        writer.close()
    head, there, content = answer.partition(b"\r\n\r\n")
    if not there:
        raise ConnectionResetError("closed without an answer")
    return int(head.split(b" ", 2)[1]), content


async def get_json(port: int, path: str) -> dict[str, Any]:
    """What a server says of itself."""
    _, body = await request(port, "GET", path)
    found: dict[str, Any] = json.loads(body)
    return found


async def post_json(port: int, path: str, content: object) -> None:
    """Tell a server something; `OSError` if it does not take it."""
    status, body = await request(port, "POST", path, body=json.dumps(content).encode())
    if status >= 300:
        raise OSError(f"{path} answered {status}: {body.decode(errors='replace')}")
