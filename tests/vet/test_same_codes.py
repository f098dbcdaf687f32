"""Rules, cases, pages and the changelog speak of the same codes."""

from __future__ import annotations

import re
from pathlib import Path

import tether.vet.rules
from tether.vet import ALL_RULES, Rule, explain

ROOT = Path(__file__).parents[2]
CODE = re.compile(r"\bCTX\d{3}\b")
CODES = [rule.code for rule in ALL_RULES]
BY_THE_RUN = {"CTX001", "CTX002"}  # no file of their own

HEAD = """\
# The rules of tether vet

<!-- made by python -m tests.vet.rules_page; tests/vet/test_same_codes.py holds it so -->

`tether vet --explain CODE` prints the same. A rule has a code and a name, and either is
understood everywhere. How to run it: [](../how-to/vet.md).

"""


def page() -> str:
    """The page of the rules, made of their own texts."""
    return HEAD + "\n".join(explain(rule) for rule in ALL_RULES).rstrip() + "\n"


def test_codes_and_names_are_unique_and_in_order() -> None:
    assert sorted(set(CODES)) == CODES
    assert len({rule.name for rule in ALL_RULES}) == len(CODES)


def test_each_file_of_a_rule_is_in_the_list() -> None:
    folder = Path(tether.vet.rules.__file__).parent
    files = {path.stem for path in folder.glob("ctx*.py")}
    named = {
        f"{rule.code.lower()}_{rule.name.replace('-', '_')}"
        for rule in ALL_RULES
        if rule.code not in BY_THE_RUN
    }
    assert files == named


def test_each_rule_has_a_case_of_its_name() -> None:
    files = {path.stem for path in (ROOT / "tests/vet/cases").glob("*.py")}
    named = {
        f"{rule.code}_{rule.name.replace('-', '_')}"
        for rule in ALL_RULES
        if rule.code not in BY_THE_RUN
    }
    assert files == named


def test_each_rule_that_fixes_has_an_expected_result() -> None:
    files = {
        path.stem.partition("_")[0]
        for path in (ROOT / "tests/vet/cases").glob("*.fixed")
    }
    assert files == {rule.code for rule in ALL_RULES if rule.fixable}


def test_the_page_is_what_the_rules_say() -> None:
    path = ROOT / "docs/reference/vet.md"
    assert path.read_text(encoding="utf-8") == page()


def test_the_changelog_names_each_rule() -> None:
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert set(CODE.findall(text)) == set(CODES)


def test_texts_are_sentences() -> None:
    for rule in ALL_RULES:
        assert not rule.says.endswith("."), rule.code
        assert rule.why.rstrip().endswith((".", ")")), rule.code
        assert _differs(rule), rule.code


def _differs(rule: Rule) -> bool:
    return rule.bad != rule.good
