"""The nightly reindex ends on all its workers, by its deadline and by SIGTERM."""

from __future__ import annotations

import re
import signal
import subprocess

import pytest

from tests.test_demo import PATIENCE, children, gone, start


def killed_later(demo: subprocess.Popen[str], signum: int) -> tuple[list[int], str]:
    """Its children, and what it says when it has been sent a signal at work."""
    assert demo.stdout is not None
    said = ""
    for line in demo.stdout:
        said += line
        if "reindexing" in line:
            break
    left = children(demo.pid)
    demo.send_signal(signum)
    rest, complaints = demo.communicate(timeout=PATIENCE)
    assert "Traceback" not in complaints, complaints
    return left, said + rest


@pytest.mark.timeout(150)
def test_the_deadline_ends_it_on_all_workers() -> None:
    with start("--nightly", "2") as demo:
        said, complaints = demo.communicate(timeout=PATIENCE)
    assert "out of time: the 2 s budget set at demo/nightly.py" in said, complaints
    assert int(re.search(r"(\d+) of \d+ parts", said)[1]) < 2000  # type: ignore[index]
    assert "the workers are free" in said
    assert demo.returncode in {0, 1}  # 1: the news took long, on a busy machine


@pytest.mark.timeout(150)
def test_sigterm_ends_it_on_all_workers_and_no_process_is_left() -> None:
    with start("--nightly", "300") as demo:
        left, said = killed_later(demo, signal.SIGTERM)
    assert demo.returncode == 128 + signal.SIGTERM
    assert "stopped: SIGTERM received" in said
    assert "the workers are free" in said
    assert len(left) >= 3
    gone(left)


@pytest.mark.timeout(150)
def test_no_worker_outlives_a_demo_that_is_killed() -> None:
    with start("--nightly", "300") as demo:
        left, _ = killed_later(demo, signal.SIGKILL)
    assert len(left) >= 3
    gone(left)
