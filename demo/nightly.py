"""The nightly reindex: a search index of all carts, made on a cluster of processes.

    python dev.py demo --nightly             4 seconds are given to it, which is too few
    python dev.py demo --nightly 60          plenty: Ctrl-C or SIGTERM ends it sooner

A part is written as a whole or not at all, so a night that is cut off leaves an index
that is true as far as it goes, and the next night goes on from there.
"""

from __future__ import annotations

import json
import logging
import os
import tempfile
import threading
import time
from functools import partial
from pathlib import Path

from distributed import Client, LocalCluster

from demo import data
from demo.table import say
from tether import Context, DeadlineExceeded, background, run, to_thread
from tether.ext import dask

WORKERS, THREADS = 3, 2
PARTS = 2000
CARTS = 20  # of a part
WORK = 3000  # steps for each cart
NEWS = 1.0  # seconds in which the end has reached every worker; some ms, if not busy
SETTLED = 10.0  # seconds for the workers to be quiet, and to show that they are free


# -- on a worker -----------------------------------------------------------------------


class _Desk:
    """What a worker process has done, for the demo to ask."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.working = 0
        self.began = self.ended = 0.0  # the last one, in time.time()

    def __enter__(self) -> None:
        with self._lock:
            self.working += 1
            self.began = time.time()

    def __exit__(self, *exc: object) -> None:
        with self._lock:
            self.working -= 1
            self.ended = time.time()


_desk = _Desk()


def reindex(ctx: Context, part: int, folder: str) -> int:
    """Write the index of one part; how many carts are in it."""
    with _desk:
        index: dict[str, list[int]] = {}
        for cart in range(part * CARTS, (part + 1) * CARTS):
            found = data.find_cart(ctx, cart % data.CARTS)  # ends in the database too
            assert found is not None
            weigh(ctx, found.items)
            for item in found.items:
                index.setdefault(f"product {item}", []).append(cart)
        unfinished = Path(folder, f"{part}.part")
        unfinished.write_text(json.dumps(index), encoding="utf-8")
        unfinished.rename(Path(folder, f"{part}.json"))
        return CARTS


def weigh(ctx: Context, items: list[int]) -> int:
    """How well they go together: a loop that computes, and looks up now and then."""
    return sum(step % item for item in items for step in ctx.poll(range(WORK), 100))


def at_the_desk() -> tuple[int, float, float]:
    """Of this process: how many parts are at work; when the last began and ended."""
    return _desk.working, _desk.began, _desk.ended


# -- here ------------------------------------------------------------------------------


def main(seconds: float) -> int:
    """Reindex within so many seconds, and say what came of it; 0 if it kept its word.

    SIGTERM and Ctrl-C end it in order, as the deadline does.
    """
    with tempfile.TemporaryDirectory(prefix="tether-nightly-") as folder:
        where = str(Path(folder, "shop.db"))
        with background().with_timeout(60.0) as ctx:
            data.create(ctx, where, 4096)
        os.environ["DEMO_DATABASE"] = where  # for the workers, which inherit it
        say(f"starting {WORKERS} worker processes")
        with (
            LocalCluster(
                n_workers=WORKERS,
                threads_per_worker=THREADS,
                dashboard_address="127.0.0.1:0",
                silence_logs=logging.CRITICAL,  # of each part whose time is over
            ) as cluster,
            Client(cluster) as client,
        ):
            client.wait_for_workers(WORKERS)
            return run(night, client, folder, seconds, drain=2 * SETTLED)


async def night(ctx: Context, client: Client, folder: str, seconds: float) -> int:
    """The night, and a look at the workers afterwards."""
    say(f"reindexing {PARTS} parts, {WORKERS * THREADS} at a time, in {seconds:g} s")
    why = "it is done"
    try:
        with ctx.with_timeout(seconds, label="nightly reindex") as budget:
            work = partial(reindex, folder=folder)
            calls = dask.map(budget, client, work, range(PARTS))
            await dask.gather_async(budget, calls)
    except DeadlineExceeded as exc:
        why = f"out of time: {exc.detail}"
    finally:
        # After a signal the program is over, and what is left to do is none of it.
        ended = time.time()
        say(f"stopped: {ctx.cause()}" if ctx.done() else why)
        with ctx.without_cancel().with_timeout(SETTLED) as rest:
            kept = await to_thread(rest, look, client, folder, ended)
    return 0 if kept else 1


def look(ctx: Context, client: Client, folder: str, ended: float) -> bool:
    """Wait until the workers are quiet, and say whether they are of use."""
    desks = [*client.run(at_the_desk).values()]
    while any(working for working, _, _ in desks):
        ctx.sleep(0.001)
        desks = [*client.run(at_the_desk).values()]
    stopped = max(0.0, *(stopped - ended for _, _, stopped in desks))
    began = max(0.0, *(began - ended for _, began, _ in desks))
    say(f"{len([*Path(folder).glob('*.json')])} of {PARTS} parts are indexed")
    say(f"the last that was at work stopped {stopped * 1000:.0f} ms after that")
    after = (
        f"some began, until {began * 1000:.0f} ms after it" if began else "none began"
    )
    say(f"of those that were queued {after}")
    answers = dask.gather(ctx, dask.map(ctx, client, double, range(30)))
    free = answers == [2 * number for number in range(30)]
    say(f"the workers are {'free' if free else 'NOT FREE'}")
    return free and max(began, stopped) < NEWS


def double(_: Context, number: int) -> int:
    return 2 * number
