"""Each rule on code that looks real: tests/vet/cases says what is reported where.

A line with `# error: CTX301` must be reported by that rule, all others must not. The
file `.fixed` beside it has the lines that `--fix` leaves changed, in order. In
tests/vet/services all rules that are on by default look at once.
"""

from __future__ import annotations

import difflib
import re
from pathlib import Path

import pytest

from tether.vet import ALL_RULES, Rule, check_text
from tether.vet._fix import apply

CASES = Path(__file__).parent / "cases"
FILES = sorted(CASES.glob("*.py"))
CHECKED = [rule for rule in ALL_RULES if not rule.code.startswith("CTX0")]
SERVICES = sorted((Path(__file__).parent / "services").glob("*.py"))
CODES = re.compile(r"CTX\d+")
MARK = re.compile(r"# error: (CTX[\dCTX, ]+)")


def pretended(code: str) -> str:
    """A path by which the code counts as that of a test, or of the program."""
    return "tests/test_shop.py" if code.startswith("CTX8") else "shop/handlers.py"


def marked(text: str) -> set[tuple[int, str]]:
    """The lines with a mark, and the codes in it."""
    return {
        (number, code)
        for number, line in enumerate(text.split("\n"), start=1)
        for match in MARK.finditer(line)
        for code in CODES.findall(match[1])
    }


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_reported_is_what_is_marked(path: Path) -> None:
    code = path.stem.partition("_")[0]
    text = path.read_text(encoding="utf-8")
    wanted = marked(text)
    assert wanted, "a case without an error shows nothing"
    found = check_text(text, pretended(code), select=code)
    assert {(finding.line, finding.code) for finding in found} == wanted


@pytest.mark.parametrize("path", SERVICES, ids=lambda path: path.stem)
def test_in_a_whole_service_each_rule_minds_its_own_business(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    found = check_text(text, "shop/service.py", select="default")
    assert {(finding.line, finding.code) for finding in found} == marked(text)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_fixed_is_as_written_down(path: Path) -> None:
    code = path.stem.partition("_")[0]
    text = path.read_text(encoding="utf-8")
    found = check_text(text, pretended(code), select=code)
    after, _ = apply(text.encode(), [f.edits for f in found if f.edits])
    old, new = text.splitlines(), after.decode().splitlines()
    changed = [line[2:] for line in difflib.ndiff(old, new) if line.startswith("+ ")]
    expected = path.with_suffix(".fixed")
    wanted = expected.read_text(encoding="utf-8") if expected.exists() else ""
    assert changed == wanted.splitlines()
    # What was cured is not reported again.
    again = check_text(after.decode(), pretended(code), select=code)
    assert len(again) == len([f for f in found if not f.edits])


@pytest.mark.parametrize("rule", CHECKED, ids=lambda rule: rule.code)
def test_the_bad_example_is_reported_and_the_good_one_is_clean(rule: Rule) -> None:
    path = pretended(rule.code)
    assert {f.code for f in check_text(rule.bad, path)} == {rule.code}
    assert check_text(rule.good, path) == []
