"""current(): the innermost open block around the code that asks, whoever left what."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import threading
from collections.abc import AsyncIterator, Generator, Iterator

import pytest

from tests.core.support import LONG, Own, Wrapper, start
from tests.loops import Run
from tether import Canceled, Key, Scope, background, current

KEY: Key[int] = Key("key")


@pytest.fixture(autouse=True)
def outside_again() -> Iterator[None]:
    assert current() is background()
    yield
    assert current() is background()


def test_outside_of_blocks_it_is_background() -> None:
    assert current() is background()
    scope = background().with_cancel()
    assert current() is background()  # made, not entered
    scope.cancel()


def test_it_is_the_innermost_entered_scope() -> None:
    with background().with_cancel() as outer:
        assert current() is outer
        with outer.with_value(KEY, 1).with_timeout(60.0) as inner:
            assert current() is inner
            with background().with_cancel() as other:
                assert current() is other
            assert current() is inner
        assert current() is outer


def test_a_scope_that_is_canceled_inside_is_current_until_it_is_left() -> None:
    with background().with_cancel() as scope:
        scope.cancel()
        assert current() is scope


def test_a_block_that_is_not_entered_changes_nothing() -> None:
    scope = background().with_cancel()
    scope.cancel()
    with background().with_cancel() as outer:
        with pytest.raises(Canceled), scope:
            raise AssertionError
        assert current() is outer


def test_leaving_by_an_error_sets_it_back() -> None:
    with pytest.raises(KeyError), background().with_cancel():
        raise KeyError
    assert current() is background()


def test_a_context_below_a_user_made_one_is_current_too() -> None:
    for ctx in (Own(), Wrapper(background()), Wrapper(Own())):
        with ctx.with_cancel() as scope:
            assert current() is scope


# -- threads and tasks ---------------------------------------------------------


def test_a_thread_begins_outside_and_has_its_own() -> None:
    def body() -> None:
        assert current() is background()
        with background().with_cancel() as mine:
            assert current() is mine
            inside.set()
            assert leave.wait(LONG)
            assert current() is mine

    inside, leave = threading.Event(), threading.Event()
    with background().with_cancel() as outer:
        working = start(body)
        assert inside.wait(LONG)
        assert current() is outer
        leave.set()
        working.result(LONG)


def test_a_task_inherits_it_and_changes_only_its_own(run: Run) -> None:
    async def child(outer: Scope) -> None:
        assert current() is outer
        with outer.with_cancel() as mine:
            await asyncio.sleep(0)
            assert current() is mine
        assert current() is outer

    async def main() -> None:
        with background().with_cancel() as outer:
            tasks = [asyncio.create_task(child(outer)) for _ in range(3)]
            await asyncio.sleep(0)
            assert current() is outer
            await asyncio.gather(*tasks)
            assert current() is outer
        assert current() is background()

    run(main)


def test_a_task_that_outlives_its_block_falls_back_to_the_nearest_open_one(
    run: Run,
) -> None:
    seen = []

    async def child(go: asyncio.Event) -> None:
        for _ in range(4):
            await go.wait()
            go.clear()
            seen.append(current())

    async def ask(go: asyncio.Event) -> None:
        count = len(seen)
        go.set()
        while len(seen) == count:
            await asyncio.sleep(0)

    async def main() -> None:
        go = asyncio.Event()
        with background().with_cancel() as outer:
            with outer.with_cancel() as middle:
                with middle.with_value(KEY, 1).with_cancel() as inner:
                    task = asyncio.create_task(child(go))
                    await ask(go)
                await ask(go)
            await ask(go)
        await ask(go)
        await task
        assert seen[0] is inner
        assert seen[1] is not inner
        assert seen[1].value(KEY) == 1  # it still carries what it was given
        assert seen[1].done_signal() == middle.done_signal()
        assert seen[2:] == [outer, background()]

    run(main)


def test_it_falls_back_to_a_user_made_context_as_it_is(run: Run) -> None:
    async def main() -> None:
        own = Own()
        go = asyncio.Event()

        async def child() -> object:
            await go.wait()
            return current()

        with own.with_cancel():
            task = asyncio.create_task(child())
            await asyncio.sleep(0)
        go.set()
        found = await task
        assert str(found) == str(own)

    run(main)


def test_it_follows_a_copy_of_the_variables() -> None:
    with background().with_cancel() as scope:
        copied = contextvars.copy_context()
        assert copied.run(current) is scope
        with scope.with_cancel() as inner:
            assert copied.run(current) is scope
            assert contextvars.copy_context().run(current) is inner
    assert copied.run(current) is background()
    assert contextvars.Context().run(current) is background()


def test_entering_in_a_copy_does_not_show_outside() -> None:
    copied = contextvars.copy_context()
    scope = background().with_cancel()
    copied.run(scope.__enter__)
    assert current() is background()
    assert copied.run(current) is scope
    scope.__exit__(None, None, None)  # here, where it was not entered
    assert current() is background()
    assert copied.run(current) is background()


def test_leaving_in_a_copy_of_the_variables_it_was_entered_in() -> None:
    with background().with_cancel() as outer:
        scope = outer.with_cancel()
        scope.__enter__()
        copied = contextvars.copy_context()
        copied.run(scope.__exit__, None, None, None)
        assert copied.run(current) is outer
        assert current() is outer


# -- out of order --------------------------------------------------------------


def test_the_inner_stays_current_when_the_outer_is_left_first() -> None:
    outer = background().with_cancel()
    inner = outer.with_cancel()
    outer.__enter__()
    inner.__enter__()
    outer.__exit__(None, None, None)
    assert current() is inner
    inner.__exit__(None, None, None)
    assert current() is background()


def test_unrelated_blocks_left_in_the_wrong_order() -> None:
    with background().with_cancel() as base:
        first, second, third = (background().with_cancel() for _ in range(3))
        for scope in (first, second, third):
            scope.__enter__()
        second.__exit__(None, None, None)
        assert current() is third
        first.__exit__(None, None, None)
        assert current() is third
        third.__exit__(None, None, None)
        assert current() in (base, background())
    assert current() is background()


def test_left_in_another_task(run: Run) -> None:
    async def leave(scope: Scope) -> None:
        scope.__exit__(None, None, None)
        assert current() is background()

    async def main() -> None:
        scope = background().with_cancel()
        scope.__enter__()
        await asyncio.create_task(leave(scope))
        assert current() is background()
        with background().with_cancel() as later:
            assert current() is later
        assert current() is background()

    run(main)


def test_left_in_another_thread() -> None:
    with background().with_cancel() as outer:
        scope = outer.with_cancel()
        scope.__enter__()
        start(scope.__exit__, None, None, None).result(LONG)
        assert current() is outer


# -- generators ----------------------------------------------------------------


def holding() -> Generator[Scope]:
    with background().with_cancel() as scope:
        yield scope


def test_a_generator_that_is_suspended_inside_its_block() -> None:
    generator = holding()
    scope = next(generator)
    assert current() is scope  # as with every context variable
    generator.close()
    assert current() is background()


def test_a_generator_that_is_collected_inside_its_block() -> None:
    with background().with_cancel() as outer:
        generator = holding()
        next(generator)
        del generator
        gc.collect()
        assert current() is outer
    assert current() is background()


def test_a_generator_that_is_closed_after_the_block_it_was_made_in() -> None:
    with background().with_cancel() as outer:
        generator = holding()
        scope = next(generator)
    assert outer.done()
    assert current() is scope
    generator.close()
    assert current() is background()


def test_a_generator_that_is_closed_in_another_thread() -> None:
    generator = holding()
    next(generator)
    start(generator.close).result(LONG)
    assert current() is background()


def test_an_asynchronous_generator_that_is_finalised_by_the_loop(run: Run) -> None:
    async def numbers() -> AsyncIterator[int]:
        with background().with_cancel():
            while True:
                yield 1

    async def main() -> None:
        with background().with_cancel() as outer:
            async for _ in numbers():
                break
            gc.collect()
            for _ in range(5):
                await asyncio.sleep(0)
            assert current() in (outer, background())
        assert current() is background()

    run(main)
