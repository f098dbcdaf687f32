"""CTX802: a test sleeps for real."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from .._file import File
from .._finding import Found, Rule


def check(file: File) -> Iterator[Found]:
    """Report sleeps in tests of code that uses tether."""
    if not file.module.is_test:
        return
    for call, function, callee in file.calls("sleep"):
        if callee not in {"time.sleep", "asyncio.sleep"} or not call.args:
            continue
        first = call.args[0]
        if isinstance(first, ast.Constant) and first.value == 0:
            continue
        if any(f.name.rpartition(".")[2].startswith("test") for f in function.chain()):
            yield Found(
                call, "a test of deadlines need not wait: move a VirtualClock instead"
            )


RULE = Rule(
    code="CTX802",
    name="real-sleep-in-test",
    says="a test sleeps although its deadlines could run on a virtual clock",
    why="""\
Tests of cancellation that sleep are slow on a good day and red on a bad one. Under
`tether.testing.VirtualClock` time moves when the test says so. Off by default: tests
of real I/O must sleep.""",
    bad="""\
import time
from tether import background

def test_it_ends() -> None:
    with background().with_timeout(0.1) as ctx:
        time.sleep(0.2)
        assert ctx.done()
""",
    good="""\
from tether import background
from tether.testing import VirtualClock

def test_it_ends() -> None:
    with VirtualClock() as clock, background().with_timeout(0.1) as ctx:
        clock.advance(0.2)
        assert ctx.done()
""",
    check=check,
    tests=True,
    default=False,
)
