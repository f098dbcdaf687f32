"""Tests that start work, and a module that never says that it is checked."""
import asyncio
import threading

from tether import Context, Group, background


def helper() -> None:
    threading.Thread(target=print).start()


def test_that_starts_nothing() -> None:
    with background().with_timeout(1.0) as ctx:
        ctx.check()


def test_group() -> None:
    with Group(background()) as group:  # error: CTX801
        group.go(Context.check)


async def test_a_second_one_is_not_told_again() -> None:
    await asyncio.create_task(asyncio.sleep(0))
