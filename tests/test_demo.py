"""The demo shows its point: what nobody waits for any more ends, with tether."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def demo(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "demo", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )


def test_with_tether_nothing_runs_on_for_clients_that_left() -> None:
    ran = demo("--json", "--seconds", "4")
    assert ran.returncode == 0, ran.stderr
    figures = json.loads(ran.stdout)
    plain, tethered = figures["without tether"], figures["with tether"]
    assert plain.keys() == tethered.keys()
    for variant in (plain, tethered):
        assert variant["clients that hung up"] > 10
        assert variant["answered 200"] > 10
        assert variant["other errors"] == 0
    assert plain["handlers without a client, most"] > 5
    assert plain["queries without a client, most"] > 1
    assert plain["queries without a client, at the end"] > 0
    assert tethered["handlers without a client, at the end"] == 0
    assert tethered["queries without a client, at the end"] == 0
    assert tethered["tasks more than at the start"] == 0
    assert plain["payments promised"] > 20
    assert plain["payments lost"] > 0
    assert tethered["payments promised"] > 20
    assert tethered["payments lost"] == 0
    assert tethered["tasks, most"] < plain["tasks, most"]


@pytest.mark.parametrize("seconds", ["0", "-1", "nan", "soon"])
def test_wrong_input_is_refused_with_a_word_on_how(seconds: str) -> None:
    ran = demo("--seconds", seconds)
    assert ran.returncode == 2
    assert "--seconds" in ran.stderr
