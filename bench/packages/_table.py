"""`python -m bench packages [name ...]`: sweep them all, and print one table."""

from __future__ import annotations

import argparse
import importlib
import importlib.metadata
import logging
import platform
import re
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from bench.packages._operation import Operation
from tether.testing import Finding, Report

MODULES = sorted(path.stem for path in Path(__file__).parent.glob("[a-z]*.py"))
WIDTHS = (19, 37, 6, 11, 11)


def version_of(package: str) -> str:
    """The one that is swept; asyncio has Python's."""
    if package == "asyncio":
        return platform.python_version()
    return importlib.metadata.version(package)


def operations(module: str) -> tuple[str, list[Operation]]:
    """The package of a module, and what is swept of it."""
    loaded: Any = importlib.import_module(f"bench.packages.{module}")
    return loaded.PACKAGE, loaded.OPERATIONS


def short(problem: str) -> str:
    """The first line of a problem, without what differs from run to run."""
    first = problem.partition("\n")[0].removeprefix("left behind: ")
    return re.sub(r"0x[0-9a-f]+|<([\w.]+)[^>]*>?", r"\1", first)


def ends(finding: Finding) -> str:
    """The ends by which it is found: a context of tether's is more polite."""
    ways = {f"{cut.moment.value} {cut.means.value}": None for cut in finding.cuts}
    return ", ".join(ways)


def row(package: str, operation: Operation, report: Report) -> str:
    """One line of the table, and one more for each further finding."""
    moments = Counter(cut.moment.value for cut in report.delivered)
    cells = (
        f"{package} {version_of(package)}",
        operation.name,
        f"{report.places}",
        f"{moments['early']}/{moments['late']}",
        report.verdict.value,
    )
    line = "".join(f"{cell:{width}}" for cell, width in zip(cells, WIDTHS))
    says = [f"{short(one.problem)} ({ends(one)})" for one in report.findings]
    if says and operation.shown_by:
        says[0] += f" [{operation.shown_by}]"
    if not says and report.unresolved:
        says = [f"{len(report.unresolved)} unresolved: {short(report.unresolved[0])}"]
    return ("\n" + " " * sum(WIDTHS)).join([line + "".join(says[:1]), *says[1:]])


def main(argv: list[str]) -> int:
    """Sweep what was asked for; 0, whatever is found: it is not ours."""
    parser = argparse.ArgumentParser(
        prog="python -m bench packages",
        description="Sweep other packages; print what happens when they are canceled.",
    )
    parser.add_argument(
        "name", nargs="*", help=f"modules (default all): {', '.join(MODULES)}"
    )
    parser.add_argument(
        "-v", "--verbose", action="store_true", help="print the whole reports"
    )
    args = parser.parse_args(argv)
    unknown = [name for name in args.name if name not in MODULES]
    if unknown:
        parser.error(f"no module {unknown[0]!r}; there are {', '.join(MODULES)}")
    # What loops complain of, and finalizers, is in the reports.
    logging.disable()
    sys.unraisablehook = lambda _: None
    heads = ("package", "operation", "waits", "early/late", "verdict")
    print("".join(f"{head:{width}}" for head, width in zip(heads, WIDTHS)) + "finding")
    for module in args.name or MODULES:
        try:
            package, found = operations(module)
        except ImportError as exc:
            print(f"{module:{WIDTHS[0]}}not installed: {exc}")
            continue
        for operation in found:
            report = operation.swept()
            print(row(package, operation, report), flush=True)
            if args.verbose:
                print(report, file=sys.stdout, flush=True)
    return 0
