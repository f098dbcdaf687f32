"""Findings that are known and accepted, so that only new ones count.

A line of the file is one finding: path, code, and the source line without its
indentation. Line numbers are left out: they change with every edit above. The same
line twice stands twice.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from ._run import Report
from ._settings import Settings, UsageError
from ._source import relative

Row = tuple[str, str, str]


def write(path: Path, report: Report, settings: Settings) -> None:
    """Accept all that was found. What is known of files not looked at is kept."""
    old = _read(path) if path.exists() else ()
    seen = _looked_at(report, settings)
    rows = sorted([*_rows(report, settings), *(r for r in old if r[0] not in seen)])
    text = ",\n".join(json.dumps(row) for row in rows)
    try:
        path.write_text(f"[\n{text}\n]\n" if rows else "[]\n", encoding="utf-8")
    except OSError as error:
        raise UsageError(f"the baseline {path} cannot be written: {error}") from None


def new(path: Path, report: Report, settings: Settings) -> tuple[Report, int]:
    """The report without what is in the file, and how many entries are out of date.

    Those are judged that this run could have found: by its rules, in its files, and in
    files that are gone.
    """
    known = Counter(_read(path))
    left = []
    for finding, row in zip(report.findings, _rows(report, settings), strict=True):
        if known[row] > 0:
            known[row] -= 1
        else:
            left.append(finding)
    seen = _looked_at(report, settings)
    codes = {rule.code for rule in settings.rules()}
    stale = sum(
        count
        for (file, code, _), count in known.items()
        if code in codes and (file in seen or not (settings.folder / file).exists())
    )
    return Report(tuple(left), report.files, report.lines, report.paths), stale


def _rows(report: Report, settings: Settings) -> Iterable[Row]:
    for finding in report.findings:
        inside = relative(Path(finding.path), settings.folder)
        yield inside, finding.code, finding.text.strip()


def _looked_at(report: Report, settings: Settings) -> set[str]:
    return {relative(path, settings.folder) for path in report.paths}


def _read(path: Path) -> list[Row]:
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))
        return [(str(a), str(b), str(c)) for a, b, c in rows]
    except (OSError, ValueError, TypeError) as error:
        raise UsageError(f"the baseline {path} cannot be read: {error}") from None
