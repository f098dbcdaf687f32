"""Blocks that are left elsewhere, late, or never: generators, other tasks."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import threading
import weakref
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

from tests.core.test_interrupt import forever, turns, undisturbed
from tether import Canceled, DeadlineExceeded, Scope, background, current
from tether._interrupt import PURGE
from tether.testing import VirtualClock

Run = Callable[..., Any]


def test_a_scope_left_in_another_task_is_silent(run: Run) -> None:
    async def main() -> None:
        with VirtualClock() as clock:
            scope = background().with_timeout(1.0)

            async def enter() -> None:
                scope.__enter__()
                await turns(4)
                clock.advance(5.0)
                await turns()

            async def leave() -> None:
                scope.__exit__(None, None, None)

            entering = asyncio.create_task(enter())
            await turns(2)
            await asyncio.create_task(leave())
            await entering  # not interrupted by a block that has been left
            assert isinstance(scope.err(), Canceled)
            await undisturbed()

    run(main)


def test_an_interrupted_scope_left_in_another_task_takes_its_cancel_back(
    run: Run,
) -> None:
    async def main() -> None:
        scope = background().with_cancel()

        async def enter() -> int:
            scope.__enter__()
            with contextlib.suppress(asyncio.CancelledError):
                await forever()
            await turns(6)
            task = asyncio.current_task()
            assert task is not None
            return task.cancelling()

        entering = asyncio.create_task(enter())
        await turns(2)
        scope.cancel()
        await turns(4)

        async def leave() -> None:
            scope.__exit__(None, None, None)

        await asyncio.create_task(leave())
        assert await entering == 0

    run(main)


def test_a_scope_around_a_yield_ends_with_the_consumers_block(run: Run) -> None:
    """The consumer is interrupted, and its own block answers for it."""

    async def main() -> None:
        with VirtualClock() as clock:

            async def numbers() -> AsyncIterator[int]:
                with background().with_timeout(1.0):
                    yield 1
                    yield 2

            generator = numbers()
            with pytest.raises(DeadlineExceeded):
                with background().with_cancel():
                    assert await anext(generator) == 1
                    asyncio.get_running_loop().call_soon(clock.advance, 2.0)
                    await forever()
            await undisturbed()
            await generator.aclose()  # type: ignore[attr-defined]
            await undisturbed()

    run(main)


def test_a_generator_that_is_closed_after_the_block_it_was_made_in(run: Run) -> None:
    async def main() -> None:
        with VirtualClock() as clock:

            def numbers() -> Iterator[int]:
                with background().with_timeout(1.0):
                    yield 1

            with background().with_cancel():
                generator = numbers()
                next(generator)
            clock.advance(2.0)
            await undisturbed()
            generator.close()  # type: ignore[attr-defined]
            assert current() is background()
            await undisturbed()

    run(main)


def test_a_generator_finalised_in_another_thread(run: Run) -> None:
    async def main() -> None:
        def numbers(made: list[Scope]) -> Iterator[int]:
            with background().with_timeout(60.0) as scope:
                made.append(scope)
                yield 1

        made: list[Scope] = []
        generator = numbers(made)
        next(generator)
        thread = threading.Thread(target=generator.close)  # type: ignore[attr-defined]
        thread.start()
        thread.join()
        assert made[0].done()
        assert current() is background()
        await undisturbed()

    run(main)


def test_a_collected_async_generator(run: Run) -> None:
    async def main() -> None:
        async def numbers() -> AsyncIterator[int]:
            with background().with_timeout(60.0):
                yield 1

        generator = numbers()
        await anext(generator)
        del generator
        gc.collect()
        await turns()
        assert current() is background()
        await undisturbed()

    run(main)


def test_blocks_left_out_of_order(run: Run) -> None:
    async def main() -> None:
        first, second = background().with_cancel(), background().with_cancel()
        first.__enter__()
        second.__enter__()
        first.__exit__(None, None, None)
        assert current() is second
        second.cancel()
        await undisturbed()  # taken over: it interrupts nobody from now on
        second.__exit__(None, None, None)
        assert current() is background()
        await undisturbed()

    run(main)


def test_a_scope_left_twice_and_one_left_unentered(run: Run) -> None:
    async def main() -> None:
        with background().with_cancel() as scope:
            pass
        scope.__exit__(None, None, None)
        scope = background().with_cancel()
        with pytest.raises(RuntimeError, match="never entered"):
            scope.__exit__(None, None, None)
        scope.cancel()
        await undisturbed()

    run(main)


@pytest.mark.tether_leaks(off=True)  # that is what it is about
def test_a_task_that_ends_inside_a_block_leaves_nothing(run: Run) -> None:
    async def main() -> None:
        async def sloppy() -> Scope:
            scope = background().with_cancel()
            scope.__enter__()
            return scope

        seen: list[weakref.ref[object]] = []
        for _ in range(400):
            task = asyncio.create_task(sloppy())
            scope = await task
            scope.cancel()
            seen += weakref.ref(scope), weakref.ref(task)
            del task, scope
            await turns(2)
        gc.collect()
        left = sum(ref() is not None for ref in seen)
        assert left <= 4 * PURGE  # what has ended is looked for now and then
        await undisturbed()

    run(main)
