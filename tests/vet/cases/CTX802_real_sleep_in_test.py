"""Tests that sleep."""
import asyncio
import time

from tether import background


def test_it_ends() -> None:
    with background().with_timeout(0.1) as ctx:
        time.sleep(0.2)  # error: CTX802
        assert ctx.done()


class TestTask:
    async def test_it_ends(self) -> None:
        await asyncio.sleep(0.1)  # error: CTX802
        await asyncio.sleep(0)


# Right:


def helper() -> None:
    time.sleep(0.2)


def test_virtual(clock: object) -> None:
    clock.advance(0.2)
