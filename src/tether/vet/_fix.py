"""Apply the edits that findings carry, or show them as a diff.

Edits are by position, so what is not touched stays as it was, to the byte. Where two
overlap, the first stays and the other is left for the next run: its finding is still
there then.
"""

from __future__ import annotations

import ast
import difflib
import io
import tokenize
from collections.abc import Iterable
from pathlib import Path

from ._finding import Edit, Finding


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

    A result that is no longer valid Python is thrown away, as is a file in another
    encoding than UTF-8.
    """
    before = path.read_bytes()
    encoding, _ = tokenize.detect_encoding(io.BytesIO(before).readline)
    groups = [finding.edits for finding in findings if finding.edits]
    if encoding != "utf-8" or not groups or b"\r" in before.replace(b"\r\n", b""):
        return before, before, 0
    after, made = apply(before, groups)
    try:
        ast.parse(after)
    except SyntaxError:
        return before, before, 0
    return before, after, made


def diff(path: Path, before: bytes, after: bytes) -> str:
    """The change as a unified diff."""
    return "".join(
        difflib.unified_diff(
            before.decode().splitlines(keepends=True),
            after.decode().splitlines(keepends=True),
            f"a/{path.as_posix()}",
            f"b/{path.as_posix()}",
        )
    )
