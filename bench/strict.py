"""What a suite costs with the leak checks on: CPU of a test, pytest's part included."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from bench._measure import Bar, Case, Effort, Run, Side

ROOT = Path(__file__).parents[1]
OFF, STRICT = "tether_leaks = off", "tether_leaks = strict"

# A test takes about a millisecond. Of ten, five are plain, four run a loop, one starts
# threads.
SUITE = """
import asyncio, threading
import pytest

def work(size=29000):
    return sum(number * number % 7 for number in range(size))

async def pieces():
    async with asyncio.TaskGroup() as group:
        for _ in range(4):
            group.create_task(asyncio.sleep(0))
    work(25000)

def plain():
    work()

def loop():
    asyncio.run(pieces())

def threads():
    some = [threading.Thread(target=work, args=(8000,)) for _ in range(3)]
    for one in some:
        one.start()
    for one in some:
        one.join()

@pytest.mark.parametrize("number", range({tests}))
def test_it(number):
    [plain, loop, plain, loop, plain, loop, plain, loop, plain, threads][number % 10]()
"""
# From the first test to the last: neither the start of the interpreter nor the
# collection of the tests, which would make the ratio look better.
CONFTEST = """
import time
import pytest

@pytest.hookimpl(wrapper=True)
def pytest_runtestloop(session):
    began = time.process_time_ns()
    try:
        return (yield)
    finally:
        print(f"\\ncpu {time.process_time_ns() - began} ns")
"""


def suite(tests: int, setting: str) -> Run:
    """Run a suite n times, in its own process; ns of CPU from first test to last."""

    def run(n: int) -> int:
        return sum(_once(tests, setting) for _ in range(n))

    return run


def _once(tests: int, setting: str) -> int:
    with TemporaryDirectory() as folder:
        Path(folder, "test_it.py").write_text(SUITE.format(tests=tests))
        Path(folder, "conftest.py").write_text(CONFTEST)
        Path(folder, "pytest.ini").write_text(f"[pytest]\n{setting}\n")
        done = subprocess.run(
            [
                *(sys.executable, "-m", "pytest", "-q", "-s"),
                *("-p", "no:cacheprovider", "-p", "tether.testing.plugin"),
            ],
            cwd=folder,
            env={
                **os.environ,
                "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
                "PYTHONPATH": str(ROOT / "src"),
            },
            capture_output=True,
            text=True,
            check=False,
        )
    if f"{tests} passed" not in done.stdout:
        raise RuntimeError(f"the suite failed: {done.stdout[-300:]}{done.stderr}")
    return int(done.stdout.partition("\ncpu ")[2].split()[0])


def cases(effort: Effort) -> list[Case]:
    """One operation is a test."""
    tests = 1000 if effort.large else 10
    return [
        Case(
            f"{tests} tests of about a millisecond",
            OFF,
            [
                Side(OFF, suite(tests, OFF), per=tests),
                Side(STRICT, suite(tests, STRICT), per=tests, bars=(Bar(1.10, OFF),)),
            ],
            n=1,
        )
    ]
