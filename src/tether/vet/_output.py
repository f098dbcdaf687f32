"""Findings as text for people and for programs."""

from __future__ import annotations

import json
import os
import unicodedata
from collections.abc import Callable, Sequence
from pathlib import Path
from urllib.parse import quote

from ._finding import Finding, Rule
from .rules import ALL


def full(findings: Sequence[Finding]) -> str:
    """With the source line and a mark under it."""
    parts = []
    for finding in findings:
        parts.append(
            f"{finding.path}:{finding.line}:{finding.column}: "
            f"{finding.name} ({finding.code})\n"
        )
        if finding.text.strip():
            parts.append(f"    {finding.text.strip()}\n    {_mark(finding)}\n")
        parts.append(f"  {finding.message}\n\n")
    return "".join(parts)


def _mark(finding: Finding) -> str:
    """What points at the place in the line above: tabs stay, wide letters count two."""
    indent = len(finding.text) - len(finding.text.lstrip())
    before = finding.text[indent : finding.column - 1]
    marked = finding.text[finding.column - 1 : finding.end_column - 1]
    return "".join(
        "\t" if letter == "\t" else " " * _width(letter) for letter in before
    ) + "^" * max(1, sum(map(_width, marked)))


def _width(letter: str) -> int:
    return 2 if unicodedata.east_asian_width(letter) in "WF" else 1


def concise(findings: Sequence[Finding]) -> str:
    """One line each, as editors read it."""
    return "".join(
        f"{f.path}:{f.line}:{f.column}: {f.name} ({f.code}) {f.message}\n"
        for f in findings
    )


def as_json(findings: Sequence[Finding]) -> str:
    """A list of objects."""
    rows = [
        {
            "path": f.path,
            "line": f.line,
            "column": f.column,
            "end_line": f.end_line,
            "end_column": f.end_column,
            "code": f.code,
            "name": f.name,
            "message": f.message,
            "fixable": bool(f.edits),
        }
        for f in findings
    ]
    return json.dumps(rows, indent=2, ensure_ascii=False) + "\n"


def sarif(findings: Sequence[Finding]) -> str:
    """SARIF 2.1.0, for code scanning."""
    used = [rule for rule in ALL if any(f.code == rule.code for f in findings)]
    log = {
        "version": "2.1.0",
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "runs": [
            {
                "tool": {
                    "driver": {"name": "tether vet", "rules": [_about(r) for r in used]}
                },
                "columnKind": "unicodeCodePoints",
                "results": [_result(finding, used) for finding in findings],
            }
        ],
    }
    return json.dumps(log, indent=2, ensure_ascii=False) + "\n"


def _about(rule: Rule) -> dict[str, object]:
    return {
        "id": rule.code,
        "name": rule.name,
        "shortDescription": {"text": rule.says},
        "fullDescription": {"text": rule.why.replace("\n", " ")},
    }


def _result(finding: Finding, used: list[Rule]) -> dict[str, object]:
    return {
        "ruleId": finding.code,
        "ruleIndex": [rule.code for rule in used].index(finding.code),
        "level": "error" if finding.code == "CTX001" else "warning",
        "message": {"text": finding.message},
        "locations": [
            {
                "physicalLocation": {
                    "artifactLocation": {"uri": _uri(Path(finding.path))},
                    "region": {
                        "startLine": finding.line,
                        "startColumn": finding.column,
                        "endLine": finding.end_line,
                        "endColumn": max(finding.end_column, finding.column),
                    },
                }
            }
        ],
    }


def _uri(path: Path) -> str:
    """A path as a reference: no blanks, no backslashes, with `file:` if absolute."""
    return path.as_uri() if path.is_absolute() else quote(os.fsencode(path.as_posix()))


def github(findings: Sequence[Finding]) -> str:
    """Workflow commands: GitHub shows them beside the changed lines."""
    return "".join(
        f"::error title={f.name} ({f.code}),file={_property(f.path)},"
        f"line={f.line},col={f.column},endLine={f.end_line},endColumn={f.end_column}"
        f"::{_escape(f.message)}\n"
        for f in findings
    )


def _escape(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _escape(text).replace(":", "%3A").replace(",", "%2C")


FORMATS: dict[str, Callable[[Sequence[Finding]], str]] = {
    "full": full,
    "concise": concise,
    "json": as_json,
    "sarif": sarif,
    "github": github,
}


def explain(rule: Rule) -> str:
    """What `--explain` prints, in Markdown: the page of the rules is made of it."""
    marks = [] if rule.default else ["off by default"]
    if rule.fixable:
        marks.append("`--fix` cures it")
    lines = [
        f"## {rule.name} ({rule.code})",
        "",
        f"{rule.says[0].upper()}{rule.says[1:]}.",
    ]
    if marks:
        lines[-1] += f" *{', '.join(marks)[0].upper()}{', '.join(marks)[1:]}.*"
    lines += ["", rule.why.strip(), ""]
    for title, source in (("Bad", rule.bad), ("Good", rule.good)):
        lines += [f"{title}:", "", "<!-- skip: next -->", "```python"]
        lines += [source.strip(), "```", ""]
    return "\n".join(lines)
