"""The same traffic for the same service, without tether and with it."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
from pathlib import Path

from demo import data
from demo.processes import DidNotStartError, server
from demo.traffic import captured, drive

VARIANTS = {
    "without tether": "demo.plain_gateway:app",
    "with tether": "demo.gateway:app",
}
LATENCY = 4.0


def main() -> int:
    """Run both, and print what happened."""
    parser = argparse.ArgumentParser(
        prog="python dev.py demo", description=__doc__, allow_abbrev=False
    )
    parser.add_argument(
        "--seconds", type=float, default=10.0, help="of traffic for each (10)"
    )
    parser.add_argument("--json", action="store_true", help="print JSON, nothing else")
    options = parser.parse_args()
    if not 0.0 < options.seconds < 3600.0:
        parser.error("--seconds is a number above 0")
    try:
        figures = {
            name: run(name, app, options.seconds, quiet=options.json)
            for name, app in VARIANTS.items()
        }
    except DidNotStartError as exc:
        print(exc, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nstopped; the servers are ended", file=sys.stderr)
        return 130
    print(json.dumps(figures, indent=2) if options.json else table(figures))
    return 0


def run(name: str, app: str, seconds: float, *, quiet: bool) -> dict[str, float]:
    """The figures of one variant under traffic."""

    def tell(line: str) -> None:
        if not quiet:
            print(f"  {line}", flush=True)

    if not quiet:
        print(f"{name}:", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        database = Path(folder) / "demo.db"
        data.create(database)
        with server("demo.upstream:app", DEMO_LATENCY=str(LATENCY)) as upstream:
            with server(
                app,
                DEMO_DATABASE=str(database),
                DEMO_UPSTREAM=f"http://127.0.0.1:{upstream}",
            ) as gateway:
                seen = asyncio.run(drive(gateway, seconds, tell))
            # The gateway was ended by SIGTERM, with payments on their way.
            seen.captured = asyncio.run(captured(upstream))
            return seen.summary()


def table(figures: dict[str, dict[str, float]]) -> str:
    """The figures side by side, and what they say."""
    plain, tethered = figures.values()
    width = max(len(name) for name in plain)
    lines = ["", f"{'':{width}}  {'without tether':>14}  {'with tether':>14}"]
    lines += [
        f"{name:{width}}  {plain[name]:>14g}  {tethered[name]:>14g}" for name in plain
    ]
    said = [
        (
            f"{one['handlers without a client, most']:g} handlers and"
            f" {one['queries without a client, most']:g} queries ran on for clients"
            f" that had left; one look-up in a hundred took {one['users p99 ms']:g} ms;"
            f" {one['payments lost']:g} of {one['payments promised']:g} promised"
            " payments were lost at the stop"
        )
        for one in (plain, tethered)
    ]
    lines += ["", f"Without tether up to {said[0]}.", f"With tether {said[1]}."]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
