"""Whatever the threads of a bubble are in the middle of, the clock waits for them."""

from __future__ import annotations

import asyncio
import queue
import random
import threading
import time
from collections.abc import Callable

import pytest

from tether.testing import bubble

pytestmark = [pytest.mark.stress, pytest.mark.usefixtures("switching")]

ROUNDS = 10  # each seed stands for so many
Plan = list[int]


def test_waits_of_all_kinds_end_at_their_instants_and_in_order(seed: int) -> None:
    dice = random.Random(seed)
    for _ in range(ROUNDS):
        waits(dice)


def waits(dice: random.Random) -> None:
    seen: list[tuple[float, int]] = []

    def plan() -> Plan:
        return sorted(dice.sample(range(1, 200), 8))

    async def task(instants: Plan) -> None:
        for instant in instants:
            await asyncio.sleep(instant - time.monotonic())
            seen.append((time.monotonic(), instant))

    def loop_of_its_own(instants: Plan) -> None:
        asyncio.run(task(instants))

    def sleeper(instants: Plan) -> None:
        for instant in instants:
            time.sleep(instant - time.monotonic())
            seen.append((time.monotonic(), instant))

    def consumer(instants: Plan) -> None:
        for instant in instants:
            with pytest.raises(queue.Empty):
                queue.Queue[int]().get(timeout=instant - time.monotonic())
            seen.append((time.monotonic(), instant))

    threads: list[Callable[[Plan], None]] = [loop_of_its_own, loop_of_its_own]
    threads += [sleeper, consumer]

    @bubble
    async def main() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(task(plan()))
            for one in threads:
                group.create_task(asyncio.to_thread(one, plan()))

    main()
    assert [at for at, _ in seen] == sorted(instant for _, instant in seen)
    assert all(at == instant for at, instant in seen)


def test_what_is_handed_over_in_time_is_never_late(seed: int) -> None:
    dice = random.Random(seed)
    for _ in range(ROUNDS):
        handed_over(dice)


def handed_over(dice: random.Random) -> None:

    def produce() -> None:
        for number in range(10):
            time.sleep(dice.random())
            items.put(number)

    with bubble():
        items: queue.Queue[int] = queue.Queue(3)
        threads = [threading.Thread(target=produce) for _ in range(4)]
        for thread in threads:
            thread.start()
        for _ in range(40):
            items.get(timeout=1.0)
            time.sleep(dice.random() / 10)
        for thread in threads:
            thread.join(0.001)
            assert not thread.is_alive()
