"""anyio's memory stream under asyncio's cancel: what was handed over is lost."""

from __future__ import annotations

import asyncio

import anyio


async def shown() -> str:
    """What is lost."""
    sender, receiver = anyio.create_memory_object_stream[int]()
    with sender, receiver:
        task = asyncio.create_task(receiver.receive())
        await asyncio.sleep(0.01)
        sender.send_nowait(1)
        task.cancel()  # it has the item, and has not gone on yet
        await asyncio.wait({task})
        try:
            receiver.receive_nowait()
        except anyio.WouldBlock:
            return "send_nowait() has returned, and the item is nowhere"
    return ""


if __name__ == "__main__":
    print(asyncio.run(shown()) or "nothing is lost")
