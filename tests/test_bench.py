"""The benchmark runs and says what it promises; no time is asserted."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bench.__main__ import TOPICS

ROOT = Path(__file__).resolve().parents[1]
ROW = {
    "topic",
    "case",
    "side",
    "unit",
    "median",
    "p99",
    "base",
    "ratio",
    "error",
    "bars",
}


def bench(*words: str) -> str:
    path = [str(ROOT), *(entry for entry in sys.path if entry)]
    done = subprocess.run(
        [sys.executable, "-m", "bench", *words, "--quick"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path)},
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=550,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "never retrieved" not in done.stderr
    return done.stdout


# A topic takes seconds; on a busy machine that is minutes.
pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module", params=sorted(TOPICS))
def result(request: pytest.FixtureRequest) -> Any:
    """What the benchmark says of one topic."""
    return {"topic": request.param, **json.loads(bench(request.param, "--json"))}


def test_whatever_has_cases_is_a_topic() -> None:
    files = (ROOT / "bench").glob("[a-z]*.py")
    having = {file.stem for file in files if "\ndef cases(" in file.read_text("utf-8")}
    assert having == {*TOPICS}


def test_a_topic_is_measured(result: Any) -> None:
    assert {row["topic"] for row in result["rows"]} == {result["topic"]}
    assert result["quick"] is True
    assert result["versions"]["python"].startswith("3.")


def test_a_row_has_either_a_number_or_an_error(result: Any) -> None:
    for row in result["rows"]:
        assert row.keys() == ROW
        assert row["unit"] in {"ns", "bytes", "count"}
        if row["error"] is None:
            assert isinstance(row["median"], float | int), row
        else:
            assert (row["median"], row["ratio"]) == (None, None), row


def test_every_side_of_ours_can_do_what_is_measured(result: Any) -> None:
    # Where no side is called so, all of them are ours.
    rows = result["rows"]
    ours = [row for row in rows if "tether" in row["side"]] or rows
    installed = result["versions"]["uvloop"] != "not installed"
    failed = [
        (row["case"], row["error"])
        for row in ours
        if row["error"] is not None and (installed or "uvloop" not in row["case"])
    ]
    assert failed == []


def test_a_bar_says_what_it_is_measured_against(result: Any) -> None:
    bars = [(row, bar) for row in result["rows"] for bar in row["bars"]]
    sides = {(row["case"], row["side"]) for row in result["rows"]}
    for row, bar in bars:
        assert bar["limit"] > 0
        assert bar["of"] is None or (row["case"], bar["of"]) in sides
        assert bar["met"] is (bar["value"] is not None and bar["value"] <= bar["limit"])


def test_the_table_names_the_bars() -> None:
    text = bench("looks")
    assert "met: " in text
    assert "at most 200 ns" in text
    assert "bars met" in text


def test_a_table_of_words_has_a_cell_for_each_tool() -> None:
    lines = bench("leaks").splitlines()
    (row,) = [line for line in lines if line.startswith("| task kept, waits for ever")]
    _, _, ours, *others, _ = [word.strip() for word in row.split("|")]
    assert ours == "fails / nothing"
    words = {"fails", "warns", "logs", "hangs", "nothing", "not installed"}
    assert len(others) > 4
    assert all(words.issuperset(one.split(" / ")) for one in others)


def test_a_missing_peer_is_an_error_in_its_cell() -> None:
    from bench._measure import QUICK, Case, Side, measure

    def plain(n: int) -> int:
        return 7 * n

    async def fails(n: int) -> int:
        raise ModuleNotFoundError(f"No module named 'peer' for {n}")

    sides = [Side("plain", plain), Side("peer", fails, "asyncio")]
    first, second = measure(Case("case", "plain", sides), QUICK)
    assert (first.median, first.ratio, first.error) == (7, 1, "")
    assert second.error.startswith("ModuleNotFoundError: No module named 'peer'")
    assert (second.median, second.ratio) == (None, None)
