"""Several threads, and tasks of a loop, do random things to one tree at once."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Iterator
from functools import partial

import pytest

from tests.loops import Run
from tests.stress.rounds import LONG, SCALE, Crew, Round
from tether import Context, ContextError, Scope

pytestmark = [pytest.mark.stress, pytest.mark.usefixtures("switching")]

BUDGET = 2.5 * SCALE  # seconds for each test


def seeds(first: int) -> Iterator[int]:
    until = time.monotonic() + BUDGET
    while time.monotonic() < until:
        yield first
        first += 1


def test_threads_at_one_tree(seed: int) -> None:
    with Crew(4) as crew:
        for number in seeds(seed):
            one = Round(number)
            try:
                parts = [partial(one.work, part, 8) for part in range(3)]
                crew.join(crew.begin(*parts, partial(end_soon, one)))
                one.must_hold()
            except BaseException as exc:
                exc.add_note(f"round {number}")
                raise


def end_soon(one: Round) -> None:
    """So that nobody waits for ever."""
    time.sleep(random.Random(one.seed).random() * 2e-3)
    one.root.cancel()


def test_threads_and_tasks_at_one_tree(run: Run, seed: int) -> None:
    async def main(crew: Crew) -> None:
        for number in seeds(seed):
            one = Round(number)
            try:
                parts = [partial(one.work, part, 6) for part in range(2)]
                ends = crew.begin(*parts, partial(end_soon, one))
                await work_in_tasks(one)
                crew.join(ends)
                one.must_hold()
            except BaseException as exc:
                exc.add_note(f"round {number}")
                raise

    with Crew(3) as crew:
        run(main, crew)


async def work_in_tasks(one: Round) -> None:
    chance = random.Random(one.seed * 31 + 7)
    tasks = [
        asyncio.create_task(block(one, random.Random(one.seed * 31 + part)))
        for part in range(10, 10 + chance.randrange(1, 5))
    ]
    for task in tasks:
        if chance.random() < 0.15:
            await asyncio.sleep(0)
            if task.cancel():
                task.set_name("canceled")
    async with asyncio.timeout(LONG):
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    for task, outcome in zip(tasks, outcomes):
        if isinstance(outcome, asyncio.CancelledError):
            assert task.get_name() == "canceled"
        elif isinstance(outcome, BaseException):
            raise outcome


async def block(one: Round, chance: random.Random) -> None:
    """Blocks of one task, one in the other."""
    task = asyncio.current_task()
    assert task is not None
    before = task.cancelling()
    up = chance.choice(one.contexts)
    scopes: list[Scope] = []
    try:
        await nested(one, up, chance, chance.randrange(1, 4), scopes)
    except ContextError as error:
        # It belongs to one of the blocks, or to what is above the outermost.
        assert error.ctx in [*scopes, *one.above(scopes[0]), up]
    for scope in scopes:
        assert scope.done()
    assert task.cancelling() == before or task.get_name() == "canceled"
    await asyncio.sleep(0)  # nothing comes late
    await asyncio.sleep(0)


async def nested(
    one: Round, up: Context, chance: random.Random, depth: int, scopes: list[Scope]
) -> None:
    scope = up.with_timeout(chance.choice([2e-4, 6e-4, 60.0]))
    one.parents[scope] = up
    one.scopes.append(scope)
    scopes.append(scope)
    with scope:
        try:
            if depth:
                await nested(one, scope, chance, depth - 1, scopes)
            await wait(one, scope, chance)
        except ContextError as error:
            # Not ours to handle, unless it is the inner block's own.
            assert error.ctx in scopes[scopes.index(scope) + 1 :]


async def wait(one: Round, scope: Scope, chance: random.Random) -> None:
    kind = chance.randrange(6)
    if kind == 0:
        await asyncio.sleep(0)
    elif kind == 1:
        await asyncio.sleep(chance.random() * 1e-3)
    elif kind == 2:
        await scope.wait_async(chance.random() * 1e-3)
    elif kind == 3:
        await scope.sleep_async(chance.random() * 1e-3)
    elif kind == 4:
        async with scope.interrupting(dict):
            await asyncio.sleep(chance.random() * 5e-4)
    else:
        one.cancel(chance)
        one.hook(chance)
        await asyncio.sleep(2e-4)
