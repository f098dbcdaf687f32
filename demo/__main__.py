"""The incident, replayed: the shop with the handler of then, and with the fixed one."""

from __future__ import annotations

import argparse
import json
import logging
import math
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path

from demo import page, table
from demo.load import Load
from demo.prefetch import VARIANTS
from demo.processes import DidNotStartError, halves
from demo.replay import Record, Replay
from demo.scale import MIB, Scale, Timeline, scaled
from demo.shop import UNLIMITED, Shop, Where, shop
from tether import Context, Group, run, to_thread

BROKEN, FIXED = "incident", "BLS"
MEASURED = 2.5  # seconds
CLIENTS = 24


def main() -> int:
    """Replay it, print what happened, and write the report."""
    options = parse()
    if options.nightly is not None:
        from demo import nightly  # only this needs the library

        return nightly.main(options.nightly)
    pairs = [(options.variant, FIXED)]
    if options.variant == "all":
        pairs = [(BROKEN, FIXED), ("B", "BL"), ("L", "LS"), ("S", "BS")]
    tell = (lambda _: None) if options.json else table.say
    logging.getLogger("tether").addHandler(logging.NullHandler())
    try:
        with tempfile.TemporaryDirectory(prefix="tether-demo-") as folder:
            records = run(replay_all, options, pairs, Path(folder), tell, drain=10.0)
    except DidNotStartError as exc:
        print(exc, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nstopped; all of the shop's processes are ended", file=sys.stderr)
        return 130
    report = options.report
    report.write_text(page.of(records), encoding="utf-8")
    if options.json:
        print(json.dumps(table.as_json(records), indent=2))
    else:
        print(table.of(records))
        print(f"\nThe time lines: {report.absolute()}")
    return 0


def parse() -> argparse.Namespace:
    """The options, checked."""
    parser = argparse.ArgumentParser(
        prog="python dev.py demo", description=__doc__, allow_abbrev=False
    )

    def number(least: float, most: float) -> Callable[[str], float]:
        def read(text: str) -> float:
            value = float(text)
            if not (math.isfinite(value) and least <= value <= most):
                raise argparse.ArgumentTypeError(f"from {least:g} to {most:g}")
            return value

        read.__name__ = "number"
        return read

    def port(text: str) -> int:
        if not (text.isdecimal() and 1024 <= int(text) <= 65_000):
            raise argparse.ArgumentTypeError("from 1024 to 65000")
        return int(text)

    parser.add_argument(
        "--variant",
        choices=[*VARIANTS[:-1], "all"],
        default=BROKEN,
        help="the one beside the fixed one, BLS; or all, two at a time",
    )
    parser.add_argument(
        "--seconds", type=number(8, 600), default=56.0, help="of traffic (56)"
    )
    parser.add_argument(
        "--rate", type=number(1, 5000), help="requests a second (as the machine gives)"
    )
    parser.add_argument(
        "--pods", type=int, choices=range(1, 9), default=2, help="of a shop (2)"
    )
    parser.add_argument(
        "--memory", type=number(32, 16384), help="MiB that a pod may use (measured)"
    )
    parser.add_argument(
        "--postgres",
        action="store_true",
        help="the data in a PostgreSQL, which is started for it, not in SQLite files",
    )
    parser.add_argument(
        "--debug",
        type=port,
        metavar="PORT",
        help="the live pages of the pods: of the first one here, then of the next",
    )
    parser.add_argument(
        "--report",
        type=Path,
        default=Path("report.html"),
        help="where to write the report (report.html)",
    )
    parser.add_argument(
        "--nightly",
        type=number(0.5, 600),
        nargs="?",
        const=4.0,
        metavar="SECONDS",
        help="not the incident, but the reindex on a cluster of three processes (4)",
    )
    parser.add_argument("--json", action="store_true", help="print JSON, nothing else")
    return parser.parse_args()


async def replay_all(
    ctx: Context,
    options: argparse.Namespace,
    pairs: list[tuple[str, str]],
    folder: Path,
    tell: Callable[[str], None],
) -> list[Record]:
    """The records of all variants, two at a time, on one scale."""
    records: list[Record] = []
    scale: Scale | None = None
    where: Where = files_in(folder)
    if options.postgres:
        tell("starting PostgreSQL")
        where = await to_thread(ctx, lambda _: databases_of_a_server())
    for pair in pairs:
        tell(f"starting two shops: {pair[0]} and {pair[1]}")
        async with AsyncExitStack() as stack:
            shops = []
            for nth, (variant, cores) in enumerate(zip(pair, halves(), strict=True)):
                page = options.debug and options.debug + nth * options.pods
                made = shop(
                    ctx,
                    variant,
                    folder / variant,
                    where,
                    cores,
                    options.pods,
                    debug=page,
                )
                shops.append(await stack.enter_async_context(made))
                if page:
                    tell(f"the live page of {variant}, pod 0: http://127.0.0.1:{page}/")
            if scale is None:
                scale = await measure(ctx, shops[1], options, tell)
            records += await replay(ctx, shops, scale, options, tell)
    return records


def files_in(folder: Path) -> Where:
    """SQLite files."""
    return lambda name: str(folder / f"{name}.db")


def databases_of_a_server() -> Where:
    """Databases of a PostgreSQL that is started for them."""
    from demo.databases.server import server  # only this needs the library

    return server().new


async def measure(
    ctx: Context, one: Shop, options: argparse.Namespace, tell: Callable[[str], None]
) -> Scale:
    """How much a shop can bear on this machine, with one pod of it."""
    async with Group(ctx) as watchers:
        await one.start_pods(
            ctx, watchers, lambda *_: None, count=1, weight=4096, places=64,
            limit=UNLIMITED,
        )  # fmt: skip
        tell("measuring what the machine gives")
        capacity = await Load(one.port).measure(ctx, CLIENTS, MEASURED)
        base = one.pods[0].memory / MIB
        one.pods[0].end()
    line = Timeline.of(options.seconds)
    scale = scaled(
        capacity,
        base,
        line,
        rate=options.rate,
        pods=options.pods,
        memory=options.memory,
    )
    tell(table.of_scale(scale))
    return scale


async def replay(
    ctx: Context,
    shops: list[Shop],
    scale: Scale,
    options: argparse.Namespace,
    tell: Callable[[str], None],
) -> list[Record]:
    """The replay with each of the shops, at the same time."""
    line = Timeline.of(options.seconds)
    replays = [Replay(one, scale, line) for one in shops]
    async with Group(ctx) as watchers:
        async with Group(ctx) as starting:
            for one, its in zip(shops, replays, strict=True):
                starting.go(start, one, its, scale, watchers)
        tell(table.heading([its.record for its in replays]))
        began = time.monotonic() + 0.5
        async with Group(ctx) as running:
            for its in replays:
                running.go(its.run, began)
            running.go(progress, [its.record for its in replays], began, tell)
    return [its.record for its in replays]


async def start(
    ctx: Context, one: Shop, its: Replay, scale: Scale, watchers: Group
) -> None:
    """All pods of a shop."""
    await one.start_pods(
        ctx,
        watchers,
        its.tell,
        count=scale.pods,
        weight=scale.weight,
        places=scale.places,
        limit=scale.memory * MIB,
    )


async def progress(
    ctx: Context, records: list[Record], began: float, tell: Callable[[str], None]
) -> None:
    """A line each second."""
    second = 0.0
    while second < records[0].line.end:
        second += 1.0
        await ctx.sleep_async(max(0.0, began + second - time.monotonic()))
        tell(table.line(records, second))


if __name__ == "__main__":
    sys.exit(main())
