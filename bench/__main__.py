"""`python -m bench [name ...] [--json] [--quick]`: one run, one table of ratios.

`python -m bench packages [name ...]`: see `bench.packages`.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import platform
import sys
import time
from importlib import import_module

from bench import leaks
from bench._measure import FULL, QUICK, Row, Verdict, measure
from bench.packages import _table

# A module each, loaded when it is asked for: no topic is measured beside what another
# one needs.
TOPICS = (
    "scopes",
    "derive",
    "looks",
    "tree",
    "memory",
    "latency",
    "threads",
    "waits",
    "asgi",
    "clients",
    "chain",
    "grpc",
    "groups",
    "sql",
    "resources",
    "jobs",
    "observe",
    "debug",
    "vet",
    "sweep",
    "strict",
)
PEERS = (
    "anyio",
    "trio",
    "uvloop",
    "httpx",
    "requests",
    "aiohttp",
    "psycopg",
    "asyncpg",
    "redis",
    "distributed",
    "celery",
    "grpcio",
    "flake8-async",
    "aiomonitor",
    "py-spy",
)
NAME, VALUE, RATIO = 42, 9, 7


def number(value: float | None, unit: str) -> str:
    """A value in the unit a reader would use for it."""
    if value is None:
        return "-"
    if unit == "bytes":
        return f"{value:.0f} B"
    if unit == "count":
        return f"{value:.0f}"
    for factor, short in ((1e9, "s"), (1e6, "ms"), (1e3, "µs")):
        if value >= factor:
            return f"{value / factor:.2f} {short}"
    return f"{value:.0f} ns" if value >= 10 else f"{value:.1f} ns"


def bar_text(verdict: Verdict, unit: str) -> str:
    """The bar in words, without what was measured."""
    bar = verdict.bar
    if bar.of:
        return f"at most {bar.limit:.2f} of {bar.of}"
    return f"at most {number(bar.limit, unit)}"


def verdict_text(verdict: Verdict, unit: str) -> str:
    """What was measured against the bar, and whether that is enough."""
    value = verdict.value
    got = "nothing" if value is None else number(value, unit)
    if value is not None and verdict.bar.of:
        got = f"{value:.2f}"
    met = "met" if verdict.met else "NOT met"
    return f"{met}: {got}, {bar_text(verdict, unit)}"


def versions() -> dict[str, str]:
    """Which interpreter and which peers this run compares."""
    found = {"python": platform.python_version()}
    for name in PEERS:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found


def show(topic: str, rows: list[Row]) -> None:
    """Print the rows of one topic."""
    heading = (
        (import_module(f"bench.{topic}").__doc__ or "").split("\n", 1)[0].rstrip(".")
    )
    print(f"\n{topic}: {heading}")
    case = ""
    for row in rows:
        if row.case.name != case:
            case = row.case.name
            print(f"  {case}")
        unit = row.case.unit
        line = f"    {row.side.name:{NAME - 4}}"
        if row.error:
            print(f"{line}  {row.error}")
            continue
        ratio = "-" if row.ratio is None else f"{row.ratio:.2f}"
        line += f"{number(row.median, unit):>{VALUE}}{ratio:>{RATIO}}"
        notes = [verdict_text(verdict, unit) for verdict in row.verdicts]
        if row.p99 is not None:
            notes.insert(0, f"p99 {number(row.p99, unit)}")
        for index, note in enumerate(notes or [""]):
            lead = line if index == 0 else " " * len(line)
            print(f"{lead}   {note}".rstrip())
    sys.stdout.flush()


def summary(rows: list[tuple[str, Row]]) -> None:
    """Print how many bars are met, and which are not."""
    missed = [
        f"{topic}, {row.case.name}, {row.side.name}: "
        + verdict_text(verdict, row.case.unit)
        for topic, row in rows
        for verdict in row.verdicts
        if not verdict.met
    ]
    total = sum(len(row.verdicts) for _, row in rows)
    print(f"\n{total - len(missed)} of {total} bars met")
    for line in missed:
        print(f"  {line}")


def record(topic: str, row: Row) -> dict[str, object]:
    """A row for a program."""
    return {
        "topic": topic,
        "case": row.case.name,
        "side": row.side.name,
        "unit": row.case.unit,
        "median": row.median,
        "p99": row.p99,
        "base": row.case.base,
        "ratio": row.ratio,
        "error": row.error or None,
        "bars": [
            {
                "text": bar_text(verdict, row.case.unit),
                "limit": verdict.bar.limit,
                "of": verdict.bar.of or None,
                "value": verdict.value,
                "met": verdict.met,
            }
            for verdict in row.verdicts
        ],
    }


def main(argv: list[str] | None = None) -> int:
    """Measure what was asked for and print it."""
    words = sys.argv[1:] if argv is None else argv
    if words[:1] == ["packages"]:  # no times: other people's code is swept
        return _table.main(words[1:])
    if words[:1] == ["leaks"]:  # no times either: leaks, and who notices them
        return leaks.main(words[1:])
    parser = argparse.ArgumentParser(
        prog="python -m bench",
        description="Measure tether and its peers in one run; print one table.",
    )
    parser.add_argument(
        "name", nargs="*", help=f"topics to run (default all): {', '.join(TOPICS)}"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument(
        "--quick", action="store_true", help="a smoke test: the numbers mean nothing"
    )
    args = parser.parse_args(words)
    wanted: list[str] = args.name or [*TOPICS]
    unknown = [name for name in wanted if name not in TOPICS]
    if unknown:
        parser.error(f"no topic {unknown[0]!r}; there are {', '.join(TOPICS)}")
    effort = QUICK if args.quick else FULL
    began = time.perf_counter()
    found = versions()
    if not args.json:
        print(", ".join(f"{name} {version}" for name, version in found.items()))
        print(f"{'':{NAME}}{'median':>{VALUE}}{'ratio':>{RATIO}}   bar")
    rows: list[tuple[str, Row]] = []
    for topic in wanted:
        cases = import_module(f"bench.{topic}").cases(effort)
        part = [row for case in cases for row in measure(case, effort)]
        rows += [(topic, row) for row in part]
        if not args.json:
            show(topic, part)
    seconds = round(time.perf_counter() - began, 1)
    if args.json:
        body = {
            "versions": found,
            "quick": args.quick,
            "seconds": seconds,
            "rows": [record(topic, row) for topic, row in rows],
        }
        print(json.dumps(body, indent=1))
    else:
        summary(rows)
        print(f"{seconds} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
