"""Whether a thread works or waits is told by the kernel, and guessed elsewhere."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.core.support import LONG, start
from tether import background
from tether.testing import VirtualClock, _standing
from tether.testing._standing import Looks, Standing

TELLS = Path("/proc/self/task").exists()


@pytest.fixture(params=["kernel", "guess"])
def looks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Looks:
    if request.param == "guess":
        monkeypatch.setattr(_standing, "TASKS", Path("/nowhere"))
    return Looks()


@contextmanager
def running(body: Callable[[], object]) -> Iterator[int]:
    thread = threading.Thread(target=body)
    thread.start()
    assert thread.ident is not None
    try:
        yield thread.ident
    finally:
        thread.join(LONG)


def settled(looks: Looks, ident: int) -> Standing | None:
    """How it stands once it does not go on; None when it has ended."""
    until = time.monotonic() + LONG
    while time.monotonic() < until:
        standing = looks.at([ident]).get(ident)
        if standing is not Standing.RUNNING:
            return standing
        time.sleep(0.001)
    return Standing.RUNNING


def test_a_thread_that_waits_for_a_lock(looks: Looks) -> None:
    event = threading.Event()
    for wait in (event.wait, lambda: event.wait(LONG)):
        with running(wait) as ident:
            assert settled(looks, ident) is Standing.LOCKED
            event.set()
        event.clear()


def test_a_thread_that_waits_for_the_outside(looks: Looks) -> None:
    here, there = socket.socketpair()
    with here, there, running(lambda: here.recv(1)) as ident:
        assert settled(looks, ident) is Standing.OUTSIDE
        there.send(b"x")


def test_a_thread_that_goes_on_is_seen_at_the_next_look(looks: Looks) -> None:
    first, second = threading.Event(), threading.Event()

    def body() -> None:
        first.wait(LONG)
        second.wait(LONG)

    with running(body) as ident:
        assert settled(looks, ident) is Standing.LOCKED
        first.set()
        seen = looks.at([ident])[ident]
        while seen is Standing.LOCKED:
            seen = looks.at([ident])[ident]  # it has not been on a processor yet
        assert settled(looks, ident) is Standing.LOCKED
        second.set()
    assert settled(looks, ident) is None


def test_threads_that_compete_for_the_interpreter_all_work() -> None:
    """Most of them sleep, waiting for the interpreter lock."""
    over = threading.Event()

    def spin() -> None:
        while not over.is_set():
            pass

    looks = Looks()
    threads = [threading.Thread(target=spin) for _ in range(5)]
    for thread in threads:
        thread.start()
    try:
        idents = [thread.ident for thread in threads if thread.ident is not None]
        seen = set()
        for _ in range(30):
            seen |= {*looks.at(idents).values()}
            time.sleep(0.001)
    finally:
        over.set()
        for thread in threads:
            thread.join(LONG)
    assert seen == {Standing.RUNNING}


@pytest.mark.stress
@pytest.mark.skipif(not TELLS, reason="a guess elsewhere, which this proves wrong")
def test_a_busy_machine_does_not_make_workers_look_blocked() -> None:
    """Other processes take the processors away for longer than any patience."""
    burn = "import os\nos.nice(-20 if os.getuid() == 0 else 0)\nwhile True: pass"
    burners = [
        subprocess.Popen([sys.executable, "-c", burn]) for _ in range(3 * _processors())
    ]
    try:
        for _ in range(3):
            with VirtualClock() as clock:
                ctx = background().with_timeout(1.0)
                steps: list[int] = []

                def work() -> None:
                    ctx.wait()
                    for n in range(30_000):
                        steps.append(n)

                working = start(work)
                clock.advance(1.0)
                assert len(steps) == 30_000
                working.result(LONG)
    finally:
        for burner in burners:
            burner.kill()
            burner.wait()


def _processors() -> int:
    import os

    return os.cpu_count() or 1
