"""The command line: `python -m tests.conformance [FOLDER]`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import tether
from tests.conformance.grammar import BadVectorsError
from tests.conformance.play import play
from tests.conformance.report import Report
from tests.conformance.vectors import Scenario, read_folder
from tests.conformance.watch import Watch
from tests.conformance.ways import in_threads, on_asyncio

VECTORS = Path(__file__).parent / "vectors"


def main(argv: Sequence[str] | None = None) -> int:
    """Plays a folder: 0 if tether agrees with Go, 1 if not, 2 if that is unknown."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.conformance",
        description="Plays Go's recorded scenarios on tether.",
    )
    parser.add_argument("folder", nargs="?", type=Path, default=VECTORS)
    parser.add_argument("--only", metavar="ID", help="play the scenario with this id")
    options = parser.parse_args(argv)
    try:
        scenarios = read_folder(options.folder)
        if options.only is not None:
            scenarios = [item for item in scenarios if item.id == options.only]
            if not scenarios:
                raise BadVectorsError(f"no scenario has the id {options.only!r}")
        report = run(scenarios)
    except BadVectorsError as exc:
        sys.stderr.write(f"error: {exc}\n")
        return 2
    report.summary()
    return 1 if report.all.failed else 0


def run(scenarios: Sequence[Scenario]) -> Report:
    """Plays every scenario in threads, and on asyncio if it waits."""
    report = Report()
    lacking: dict[str, set[str]] = {}
    with Watch() as watch:
        for scenario in scenarios:
            if scenario.needs:
                lacking.setdefault(scenario.file, set()).update(scenario.needs)
                report.all.add(False)
                continue
            watch.now(scenario.place)
            report.all.add(_both_ways(scenario, report))
    for file, names in lacking.items():
        report.lacking(file, _without(names))
    return report


def _both_ways(scenario: Scenario, report: Report) -> bool:
    differences = in_threads(partial(play, scenario))
    report.played(scenario, "threads", differences)
    if not scenario.waits:
        report.not_waiting.append(scenario)
        return not differences
    more = on_asyncio(partial(play, scenario))
    report.played(scenario, "asyncio", more)
    return not differences and not more


def _without(names: set[str]) -> str:
    who = "this runner" if all(hasattr(tether, name) for name in names) else "tether"
    return f"{', '.join(sorted(names))}, which {who} does not have yet"


if __name__ == "__main__":
    sys.exit(main())
