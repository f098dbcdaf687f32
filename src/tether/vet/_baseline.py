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

from ._finding import Finding
from ._settings import UsageError


def _key(finding: Finding, folder: Path) -> tuple[str, str, str]:
    path = Path(finding.path).absolute()
    base = folder.absolute()
    inside = path.relative_to(base) if path.is_relative_to(base) else path
    return inside.as_posix(), finding.code, finding.text.strip()


def write(path: Path, findings: Iterable[Finding], folder: Path) -> None:
    """Accept all of these."""
    rows = sorted(_key(finding, folder) for finding in findings)
    text = ",\n".join(json.dumps(row) for row in rows)
    path.write_text(f"[\n{text}\n]\n" if rows else "[]\n", encoding="utf-8")


def new(
    path: Path, findings: Iterable[Finding], folder: Path
) -> tuple[list[Finding], int]:
    """The findings that are not in the file, and how many entries match nothing."""
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))
        known = Counter((str(a), str(b), str(c)) for a, b, c in rows)
    except (OSError, ValueError, TypeError) as error:
        raise UsageError(f"the baseline {path} cannot be read: {error}") from None
    left = []
    for finding in findings:
        key = _key(finding, folder)
        if known[key] > 0:
            known[key] -= 1
        else:
            left.append(finding)
    return left, sum(known.values())
