"""The measurements of the demo: what its load and its figures are worth."""

from __future__ import annotations

import asyncio
import itertools
import time

import pytest

from demo.figures import figures, increase, normal_after, percentile, roots
from demo.load import CART, NO_BURST, Answer, Burst, Kind, Load, arrivals
from demo.replay import Event, Look, Record
from demo.scale import PLACES, RATE, Timeline, scaled
from demo.verdict import promises, shortfalls
from tests.loops import Run
from tether import background

LINE = Timeline.of(56.0)
SCALE = scaled(200.0, 50.0, LINE, rate=None, pods=2, memory=None)


def record(variant: str = "BLS") -> Record:
    """A shop that was always well, looked at twice a second."""
    made = Record(variant, LINE, SCALE, Load(0))
    for step in range(112):
        when = step / 2
        for pod in range(2):
            n = step * 10
            look = Look(when, pod, 60.0, up=True, pid=1, views=n, prefetched=n)
            made.looks.append(look)
        made.load.answers += [Answer(CART, when, 0.01, 200)] * 10
    return made


def test_both_shops_get_the_same_arrivals_at_the_rate_that_was_asked_for() -> None:
    one = list(arrivals(100.0, NO_BURST, 60.0, seed=7))
    assert one == list(arrivals(100.0, NO_BURST, 60.0, seed=7))
    assert 5400 < len(one) < 6600
    assert all(a <= b for (a, _), (b, _) in itertools.pairwise(one))


def test_a_burst_is_of_cart_views_alone() -> None:
    came = list(arrivals(100.0, Burst(20.0, 40.0, 3.0), 60.0, seed=7))

    def count(begin: float, end: float, *, carts: bool) -> int:
        return sum(
            begin <= when < end and (kind.name == CART) is carts for when, kind in came
        )

    assert count(20.0, 40.0, carts=True) > 2.5 * count(0.0, 20.0, carts=True)
    assert count(20.0, 40.0, carts=False) < 1.3 * count(0.0, 20.0, carts=False)


def test_arrivals_do_not_wait_for_answers(run: Run) -> None:
    async def main() -> None:
        came = 0
        all_there = asyncio.Event()

        async def serve(
            reader: asyncio.StreamReader, writer: asyncio.StreamWriter
        ) -> None:
            nonlocal came
            await reader.readuntil(b"\r\n\r\n")
            came += 1
            if came == 20:
                all_there.set()
            await all_there.wait()  # nobody is answered before all have come
            writer.write(b"HTTP/1.1 200 OK\r\n\r\n{}")
            writer.close()
            await writer.wait_closed()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        load = Load(server.sockets[0].getsockname()[1])
        kind = Kind("cart", 1.0, "GET", lambda _: "/")
        coming = iter([(0.001 * n, kind) for n in range(20)])
        # They were due ten seconds ago: that counts, although they leave only now.
        with background().with_timeout(30.0) as ctx:
            await load.send(ctx, coming, time.monotonic() - 10.0)
        server.close()
        await server.wait_closed()
        assert [one.status for one in load.answers] == [200] * 20
        assert all(one.seconds >= 9.9 for one in load.answers)

    run(main)


def test_the_numbers_keep_the_proportions_of_the_incident() -> None:
    there = PLACES / (RATE / 4)
    for capacity in (20.0, 200.0, 2000.0):
        scale = scaled(capacity, 50.0, LINE, rate=None, pods=2, memory=None)
        assert scale.rate < capacity
        views = scale.rate * 0.68 / 2
        assert scale.places == pytest.approx(there * views, rel=0.2)
        # About half of what comes during the degradation fills the memory.
        filled = views * 22.0 * 0.55 * (scale.weight + 48 * 1024) / 2**20
        assert filled == pytest.approx(scale.memory - scale.base, rel=0.1)


def test_a_shop_that_was_always_well_falls_short_in_nothing() -> None:
    seen = record()
    assert normal_after(seen) == 0.0
    assert shortfalls(seen) == []
    assert all(promises([seen]).values())


def test_it_is_normal_again_after_the_last_error_and_the_last_stuck_prefetch() -> None:
    seen = record("incident")
    seen.load.answers.append(Answer(CART, LINE.recovered + 4.5, 0.01, 503))
    assert normal_after(seen) == 5.0
    seen.looks.append(Look(LINE.recovered + 7.2, 0, 60.0, up=True, prefetches=50))
    assert normal_after(seen) == 8.0
    seen.load.answers.append(Answer(CART, LINE.stop - 0.5, 0.01, 503))
    assert normal_after(seen) is None
    assert any("not normal again" in said for said in shortfalls(seen))


def test_a_counter_of_a_pod_that_was_restarted_begins_at_zero() -> None:
    looks = [
        Look(0.0, 0, 1.0, up=True, pid=1, views=100),
        Look(1.0, 0, 1.0, up=True, pid=1, views=110),
        Look(2.0, 0, 0.0, up=False),
        Look(3.0, 0, 1.0, up=True, pid=2, views=5),
        Look(4.0, 0, 1.0, up=True, pid=2, views=9),
    ]
    assert increase(looks, "views", 0.0, 9.0) == 10 + 5 + 4


def test_what_was_not_answered_counts_as_failed_and_a_lost_payment_as_lost() -> None:
    seen = record("incident")
    seen.load.answers += [Answer(CART, 20.0, 3.0, 0)] * 100
    seen.load.promised |= {"p-1": 1.0, "p-2": 2.0}
    seen.captured = {"p-1"}
    seen.events.append(Event(18.0, "killed", "pod 0 killed"))
    seen.looks.append(
        Look(17.9, 0, 99.0, up=True, prefetches=80, roots=(("_prefetch", "await", 80),))
    )
    found = figures(seen)
    assert (found.failed, found.lost, found.killed) == (100, 1, 1)
    assert found.p99_degraded == 3000.0
    assert roots(seen) == [("_prefetch", "await", 80)]
    said = "; ".join(shortfalls(seen))
    for part in ("1 pod killed", "100 requests failed", "1 of 2 promised"):
        assert part in said
    assert promises([seen])["incident: a pod was killed by its memory limit"]


def test_percentiles_of_few_and_of_none() -> None:
    assert percentile([], 0.99) == 0.0
    some = [Answer(CART, 0.0, n / 1000, 200) for n in range(1, 101)]
    assert percentile(some, 0.5) == 51.0
    assert percentile(some, 0.99) == 100.0
