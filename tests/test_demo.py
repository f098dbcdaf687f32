"""The demo shows its point, in small: what the fixed handler bears and the other not."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
PATIENCE = 120.0


def start(*arguments: str, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "demo", *arguments],
        cwd=ROOT,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.fixture(scope="module")
def replayed(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], str]:
    """A small replay: what it says for programs, and its report."""
    report = tmp_path_factory.mktemp("demo") / "report.html"
    small = ("--json", "--seconds", "16", "--rate", "12", "--report", str(report))
    with start(*small) as demo:
        said, complaints = demo.communicate(timeout=PATIENCE)
    assert demo.returncode == 0, complaints
    return json.loads(said), report.read_text(encoding="utf-8")


@pytest.mark.timeout(150)
def test_the_incident_loses_pods_by_what_it_prefetches_and_the_fixed_one_none(
    replayed: tuple[dict[str, Any], str],
) -> None:
    said, _ = replayed
    incident, fixed = said["variants"]["incident"], said["variants"]["BLS"]
    assert incident["killed"] >= 1
    assert incident["most_memory"] > 0.9 * said["scale"]["memory"]
    assert incident["roots"]
    for root in incident["roots"]:
        assert root["root"] == "_prefetch, demo/prefetch/incident.py"
    assert incident["falls_short"]
    assert fixed["killed"] == 0
    assert fixed["answered"] >= 99.0
    assert fixed["most_prefetches"] <= said["scale"]["places"]
    assert fixed["most_tasks"] < incident["most_tasks"]


def test_no_promised_payment_is_lost_when_pods_are_stopped_under_load(
    replayed: tuple[dict[str, Any], str],
) -> None:
    fixed = replayed[0]["variants"]["BLS"]
    assert fixed["promised"] > 3
    assert fixed["lost"] == 0
    happened = [event["what"] for event in fixed["events"]]
    assert "SIGTERM to pod 0, under load" in happened
    assert {"pod 0 stopped", "pod 1 stopped"} <= set(happened)


def test_both_shops_got_the_same_requests(
    replayed: tuple[dict[str, Any], str],
) -> None:
    incident, fixed = replayed[0]["variants"].values()
    assert incident["requests"] == fixed["requests"] > 100


def test_the_report_is_one_file_that_needs_no_other(
    replayed: tuple[dict[str, Any], str],
) -> None:
    _, report = replayed
    assert report.count("<svg") == 4
    assert "_prefetch, demo/prefetch/incident.py" in report
    assert not re.search(r"https?:|<script|<link|<img|@import|url\(", report)


def children(pid: int) -> list[int]:
    ps = ["ps", "-A", "-o", "pid=,ppid="]
    lines = subprocess.run(ps, capture_output=True, text=True, check=True).stdout
    pairs = [tuple(map(int, line.split())) for line in lines.splitlines()]
    return [child for child, parent in pairs if parent == pid]


def is_there(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def gone(left: list[int]) -> None:
    """Wait until none of these processes is there."""
    until = time.monotonic() + 30.0
    while left and time.monotonic() < until:
        left = [pid for pid in left if is_there(pid)]
        time.sleep(0.05)
    assert not left


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGKILL])
def test_no_process_outlives_the_demo_however_it_ends(
    signum: int, tmp_path: Path
) -> None:
    with start("--seconds", "60", TMPDIR=str(tmp_path)) as demo:
        assert demo.stdout is not None
        for line in demo.stdout:
            if "measuring" in line:  # all but the pods of one shop are there
                break
        left = children(demo.pid)
        assert len(left) > 10
        demo.send_signal(signum)
        demo.communicate(timeout=PATIENCE)
    if signum == signal.SIGINT:
        assert demo.returncode == 130
    gone(left)


def two_free_ports() -> int:
    """The first of two in a row, of those that the system does not take by itself."""
    while True:
        first = random.randrange(10_000, 30_000)
        with (
            suppress(OSError),
            socket.create_server(("127.0.0.1", first)),
            socket.create_server(("127.0.0.1", first + 1)),
        ):
            return first


def test_the_pods_have_live_pages_if_it_is_told_so(tmp_path: Path) -> None:
    # The first pod there is measures the machine: it is of the second shop.
    first = two_free_ports()
    with start("--debug", str(first), "--pods", "1", TMPDIR=str(tmp_path)) as demo:
        until = time.monotonic() + PATIENCE
        said = ""
        while "Server.main_loop" not in said and time.monotonic() < until:
            try:
                url = f"http://127.0.0.1:{first + 1}/debug/tether.txt"
                said = urllib.request.urlopen(url, timeout=5.0).read().decode()
            except OSError:
                time.sleep(0.05)
        demo.send_signal(signal.SIGINT)
        demo.communicate(timeout=PATIENCE)
    assert "Server.main_loop" in said


@pytest.mark.parametrize(
    "wrong",
    [
        ("--seconds", "0"),
        ("--seconds", "nan"),
        ("--rate", "-1"),
        ("--memory", "much"),
        ("--pods", "0"),
        ("--variant", "X"),
        ("--debug", "80"),
    ],
    ids=" ".join,
)
def test_wrong_input_is_refused_with_a_word_on_how(wrong: tuple[str, str]) -> None:
    with start(*wrong) as demo:
        _, complaints = demo.communicate(timeout=PATIENCE)
    assert demo.returncode == 2
    assert wrong[0] in complaints
