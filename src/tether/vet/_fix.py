"""Apply the edits that findings carry, or show them as a diff.

Edits are by position, so what is not touched stays as it was, to the byte. Where two
overlap, the first stays and the other is left for the next run: its finding is still
there then.
"""

from __future__ import annotations

import ast
import difflib
import re
from collections.abc import Iterable
from pathlib import Path

from ._finding import Edit, Finding
from ._source import decode


def apply(data: bytes, edits: Iterable[tuple[Edit, ...]]) -> tuple[bytes, int]:
    """The source with the edits of some findings made, and how many of those."""
    lines = data.splitlines(keepends=True)
    starts = [0]
    for line in lines:
        starts.append(starts[-1] + len(line))

    def offset(line: int, column: int) -> int:
        return starts[line - 1] + column

    taken: list[tuple[int, int, bytes]] = []
    made = 0
    for group in edits:
        spans = [(offset(*e.start), offset(*e.end), e.text.encode()) for e in group]
        if any(
            (start < other_end and other_start < stop) or start == other_start
            for start, stop, _ in spans
            for other_start, other_end, _ in taken
        ):
            continue
        taken += spans
        made += 1
    for start, stop, text in sorted(taken, reverse=True):
        data = data[:start] + text + data[stop:]
    return data, made


def fixed(path: Path, findings: Iterable[Finding]) -> tuple[bytes, bytes, int]:
    """A file before and after its fixes, and how many were made.

    A result that is no longer valid Python is thrown away. So is one for a file that
    is not what it was when it was looked at.
    """
    before = path.read_bytes()
    text, encoding = decode(before)
    lines = _LINE.split(text)
    groups = []
    for finding in findings:
        if lines[finding.line - 1 : finding.line] != [finding.text]:
            return before, before, 0
        if finding.edits:
            groups.append(finding.edits)
    # Places count bytes of UTF-8, and no byte order mark, whatever the file has.
    after, made = apply(text.encode(), groups)
    try:
        ast.parse(after.decode())
        return before, after.decode().encode(encoding), made
    except (SyntaxError, UnicodeEncodeError):
        return before, before, 0


_LINE = re.compile(r"\r\n|\r|\n")


def diff(path: Path, before: bytes, after: bytes) -> str:
    """The change as a unified diff."""
    old, new = (_lines(decode(data)[0]) for data in (before, after))
    name = path.as_posix()
    changes = difflib.unified_diff(old, new, f"a/{name}", f"b/{name}")
    return "".join(
        line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n"
        for line in changes
    )


def _lines(text: str) -> list[str]:
    """The lines with their ends; `splitlines` would also cut at a form feed."""
    return re.findall(r"[^\n]*\n|[^\n]+", text)
