"""Run the rules over files: parse, check, leave out what was suppressed, sort.

One process does a few files; many are dealt out to one for each core. The collector of
cycles is off meanwhile: a tree has none, and to look for them takes time.
"""

from __future__ import annotations

import ast
import gc
import os
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from fnmatch import fnmatch
from multiprocessing import get_context
from pathlib import Path

from ._file import File
from ._finding import Finding, Found, Rule
from ._ignores import Ignore, ignores
from ._module import Module
from ._project import Project
from ._settings import Settings, expand
from ._source import (
    SourceError,
    discover,
    is_test,
    module_name,
    relative,
)
from .rules import ALL, BROKEN, UNUSED

MANY = 200  # files, from which on more processes are worth their start
MOST = 61  # processes: Windows can wait for no more
_DEALT = 40  # files in one piece of work
_COLLECT = 200  # files, after which names and functions are freed


@dataclass(frozen=True, slots=True)
class Report:
    """What a run found, and how much it has looked at."""

    findings: tuple[Finding, ...]
    files: int
    lines: int
    paths: tuple[Path, ...] = ()


def check(
    paths: Iterable[Path | str], settings: Settings | None = None, jobs: int = 1
) -> Report:
    """What the rules have to say about files and folders.

    `jobs` 0 deals many files out to a process for each core; a script that asks for
    that needs the usual `if __name__ == "__main__":`.
    """
    settings = settings or Settings()
    codes = tuple(rule.code for rule in settings.rules())
    found = discover(
        map(Path, paths),
        settings.exclude,
        settings.folder,
        named=settings.force_exclude,
    )
    seen: dict[str, Path] = {}
    for path in found:  # one that has two names is looked at once
        seen.setdefault(os.path.realpath(path), path)
    files = list(seen.values())
    ignored = {g: expand(words) for g, words in settings.per_file_ignores.items()}
    jobs = jobs or _cores()
    if jobs == 1 or len(files) < MANY:
        parts = [_some(files, codes, settings.folder)]
    else:
        pieces = [files[at : at + _DEALT] for at in range(0, len(files), _DEALT)]
        jobs = min(jobs, len(pieces), MOST)
        with ProcessPoolExecutor(jobs, get_context("spawn")) as pool:
            shared = [codes] * len(pieces), [settings.folder] * len(pieces)
            parts = list(pool.map(_some, pieces, *shared))
    findings = [
        finding
        for part, _ in parts
        for finding in part
        if not _is_ignored(finding, settings.folder, ignored)
    ]
    findings.sort(key=_order)
    lines = sum(lines for _, lines in parts)
    return Report(tuple(findings), len(files), lines, tuple(files))


def _order(finding: Finding) -> tuple[str, int, int, str, str]:
    place = finding.path, finding.line, finding.column
    return (*place, finding.code, finding.message)


def _cores() -> int:
    """The cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def check_text(
    text: str, path: str = "example.py", select: str = "all"
) -> list[Finding]:
    """What the rules have to say about a piece of source; for tests and editors."""
    codes = expand([select])
    rules = [rule for rule in ALL if rule.code in codes]
    tree = ast.parse(text)
    found = _check(Path(path), text, tree, rules, Project(), is_test(path))
    return sorted(found, key=_order)


def _is_ignored(
    finding: Finding, folder: Path, ignored: dict[str, frozenset[str]]
) -> bool:
    if not ignored:
        return False
    path = Path(finding.path)
    inside = relative(path, folder)
    return any(
        finding.code in codes and (fnmatch(inside, glob) or fnmatch(path.name, glob))
        for glob, codes in ignored.items()
    )


def _some(
    files: Sequence[Path], codes: Sequence[str], folder: Path
) -> tuple[list[Finding], int]:
    """Check some files of the project in a folder, in this process."""
    rules = [rule for rule in ALL if rule.code in codes]
    project = Project()
    findings: list[Finding] = []
    lines = 0
    was_on = gc.isenabled()
    gc.disable()
    try:
        for count, path in enumerate(files, start=1):
            try:
                text, tree = project.parsed(path)
            except SourceError as error:
                if BROKEN in rules:
                    findings.append(_broken(path, str(error), error.line, error.column))
                continue
            lines += text.count("\n")
            inside = relative(path, folder)
            findings += _check(path, text, tree, rules, project, is_test(inside))
            if count % _COLLECT == 0:
                gc.collect()
    finally:
        if was_on:
            gc.enable()
    return findings, lines


def _check(
    path: Path,
    text: str,
    tree: ast.Module,
    rules: Sequence[Rule],
    project: Project,
    in_tests: bool,
) -> list[Finding]:
    root, name = module_name(path)
    found: list[tuple[Rule, Found]] = []
    try:
        module = Module(str(path), name, text, tree, is_test=in_tests)
        file = File(module, project, root)
        for rule in rules:
            if not (rule.everywhere or file.uses_tether):
                continue
            if file.module.is_test and not rule.tests:
                continue
            found += ((rule, one) for one in rule.check(file))
    except RecursionError:
        return [_broken(path, "is nested too deeply to be looked at", 1, 1)]
    # Comments cost a look at every token: only where there may be one of ours.
    suppressed = ignores(text) if found or "tether:" in text or "CTX" in text else []
    if not found and not suppressed:
        return []
    lines = text.split("\n")
    findings = {
        _finding(path, rule, one, lines)
        for rule, one in found
        if not _takes(suppressed, rule, one)
    }
    if UNUSED in rules:
        on = {word for rule in rules for word in (rule.code, rule.name.upper())}
        for ignore in suppressed:
            for word in ignore.words:
                if word.upper() in on and word not in ignore.used:
                    findings.add(_unused(path, ignore, word, lines, STALE))
                elif ignore.is_ours and word.upper() not in KNOWN:
                    findings.add(_unused(path, ignore, word, lines, UNKNOWN))
    return list(findings)


def _takes(suppressed: list[Ignore], rule: Rule, found: Found) -> bool:
    if not suppressed:
        return False
    first = found.node.lineno  # type: ignore[attr-defined]
    # A block is not its end: a comment there belongs to something else.
    block = isinstance(found.node, (ast.stmt, ast.ExceptHandler)) and hasattr(
        found.node, "body"
    )
    last = first if block else found.node.end_lineno  # type: ignore[attr-defined]
    return any(
        ignore.line in {first, last} and ignore.takes(rule.code, rule.name)
        for ignore in suppressed
    )


def _finding(path: Path, rule: Rule, found: Found, lines: list[str]) -> Finding:
    node = found.node
    line, column = node.lineno, node.col_offset  # type: ignore[attr-defined]
    end_line, end_column = node.end_lineno, node.end_col_offset  # type: ignore[attr-defined]
    if end_line != line:  # show the first line only
        end_line, end_column = line, len(lines[line - 1].encode())
    text = lines[line - 1]
    return Finding(
        str(path),
        line,
        _characters(text, column) + 1,
        rule.code,
        rule.name,
        found.message,
        end_line,
        _characters(text, end_column) + 1,
        text,
        found.edits,
    )


def _characters(text: str, column: int) -> int:
    """A column in characters, from one in UTF-8 bytes."""
    if text.isascii():
        return column
    return len(text.encode()[:column].decode(errors="replace"))


def _broken(path: Path, message: str, line: int, column: int) -> Finding:
    text = ""
    return Finding(
        *(str(path), line, column, BROKEN.code, BROKEN.name, f"this file {message}"),
        *(line, column, text),
    )


STALE = "{} is suppressed here, and nothing reports it: remove the comment"
UNKNOWN = "there is no rule {}, so nothing is suppressed here"
KNOWN = frozenset(word for rule in ALL for word in (rule.code, rule.name.upper()))


def _unused(
    path: Path, ignore: Ignore, word: str, lines: list[str], says: str
) -> Finding:
    text = lines[ignore.line - 1]
    at = text.rfind("#") + 1
    return Finding(
        *(str(path), ignore.line, at, UNUSED.code, UNUSED.name, says.format(word)),
        *(ignore.line, len(text) + 1, text),
    )
