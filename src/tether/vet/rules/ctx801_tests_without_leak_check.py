"""CTX801: tests start work, and nothing looks whether it ends."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from .._file import File
from .._finding import Found, Rule

STARTS = {
    *("tether.Group", "tether.WaitGroup", "tether.to_thread", "tether.run"),
    *("asyncio.create_task", "threading.Thread"),
}
OPTION = "tether_leaks"
SETTINGS = ("pyproject.toml", "pytest.toml", "pytest.ini", "tox.ini", "setup.cfg")


def check(file: File) -> Iterator[Found]:
    """Report the first test of a file that starts work unwatched."""
    if not file.module.is_test or OPTION in file.module.text:
        return
    lasts = {name.rpartition(".")[2] for name in STARTS}
    starts = [
        call
        for call, function, callee in file.calls(*lasts)
        if callee in STARTS
        and any(f.name.rpartition(".")[2].startswith("test") for f in function.chain())
    ]
    if starts and not _is_on(Path(file.module.path)):
        first = min(starts, key=_line)
        yield Found(
            first,
            "what this test starts may go on after it, and nobody would know: "
            f'{OPTION} = "strict" in the settings of pytest',
        )


def _line(call: ast.Call) -> int:
    return call.lineno


def _is_on(path: Path) -> bool:
    """Whether the settings, or a conftest.py, around a file speak of the check."""
    if not path.is_file():
        return False
    return any(
        _speaks(folder / name)
        for folder in path.absolute().parents
        for name in ("conftest.py", *SETTINGS)
    )


def _speaks(path: Path) -> bool:
    try:
        return OPTION in path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return False


RULE = Rule(
    code="CTX801",
    name="tests-without-leak-check",
    says="a test starts tasks or threads, and nothing looks whether they end",
    why="""\
A task that waits for ever passes its test, and the service has one more each time. The
plugin of `tether.testing` fails such a test and says where it waits. One line switches
it on for all tests: `tether_leaks = "strict"` among the settings of pytest.""",
    bad="""\
from tether import Context, Group, background

def test_prefetch() -> None:
    group = Group(background())
    group.go(Context.wait)
""",
    good="""\
import pytest
from tether import Context, Group, background

pytestmark = pytest.mark.tether_leaks

def test_prefetch() -> None:
    with Group(background()) as group:
        group.go(Context.check)
""",
    check=check,
    tests=True,
)
