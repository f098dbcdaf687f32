"""Fixtures for all tests."""

from __future__ import annotations

import gc
import signal
import sys
import threading
import time
from collections.abc import Iterator

import hypothesis  # noqa: F401  before the freeze: it looks for who refers to what
import pytest

from tests.loops import KINDS, Run

# A shell starts what runs in its background without SIGINT, and every child of ours
# would be deaf to it as well.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

PATIENCE = 2.0  # seconds for threads that are about to end; nothing waits if none are


@pytest.fixture(params=KINDS)
def run(request: pytest.FixtureRequest) -> Run:
    """Call it with a coroutine function and its arguments; once for each loop."""
    return Run(request.param)


@pytest.fixture(scope="module", autouse=True)
def what_is_old_is_not_gone_through() -> None:
    """Full collections, of which the tests ask by the thousand, see what is new.

    What all the tests and their libraries have made when they were loaded is most of
    the objects there are, and half a second's work. It is never thawed, as to thaw and
    freeze it anew for each module would be that work again.
    """
    gc.collect()
    gc.freeze()


@pytest.fixture
def switching() -> Iterator[None]:
    """Threads take turns as often as the interpreter can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    """Fail a test that leaves a thread behind which would keep the program alive."""
    before = set(threading.enumerate())
    yield
    until = time.monotonic() + PATIENCE
    started = [t for t in threading.enumerate() if t not in before and not t.daemon]
    for thread in started:
        thread.join(max(0.0, until - time.monotonic()))
    left = [thread for thread in started if thread.is_alive()]
    assert not left, f"threads still alive: {left}"
