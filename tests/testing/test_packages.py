"""What the sweep finds in other packages is there without it, too, and nothing else is.

Each finding is knowledge of one version. Where another one is installed, or another
Python, it may have been mended: then neither may show it.
"""

from __future__ import annotations

import asyncio
import gc
import importlib
import logging
import warnings
from collections.abc import Iterator
from importlib.metadata import version

import pytest

from bench.packages._operation import Operation
from bench.packages._table import MODULES, operations
from tether.testing import Report, Verdict

pytestmark = [
    pytest.mark.tether_leaks(off=True),  # the operations leak
    pytest.mark.filterwarnings("default"),  # and what they leave is collected
]


@pytest.fixture(autouse=True)
def nothing_is_left_for_the_next_test(
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[None]:
    """What a package has lost is collected here, not while another test runs."""
    # pytest keeps the records, they the tracebacks, and those the lost connections.
    monkeypatch.setattr(logging.getLogger("asyncio"), "disabled", True)
    yield
    with warnings.catch_warnings(action="ignore"):
        gc.collect()


# Module, operation, words of the finding, script: where both are quick.
FOUND = [
    ("asyncio_tasks", "Condition: one notify, two wait", "0 woken"),
    ("asyncio_tasks", "wait_for around Queue.get", "swallows the cancel"),
    ("asyncio_tasks", "wait", "a task of it goes on"),
    ("asyncio_outside", "open_connection, staggered", "unclosed <socket"),
    ("anyio", "Condition: one notify, two wait", "not holding this lock"),
    ("anyio", "memory stream: receive", "4 sent, 3 arrived"),
    ("anyio", "open_file", "unclosed file"),
    ("aiofiles", "open, read", "unclosed file"),
    ("aiosqlite", "connect", "unclosed database"),
    ("httpx", "get", "PoolTimeout"),
    ("asyncpg", "connect", "unexpected connection_lost"),
    ("psycopg", "connect", "deleted while still open"),
    ("redis", "connect", "unclosed Connection"),
]
KNOWN = {
    "anyio": "4.16.0",
    "aiofiles": "25.1.0",
    "httpx": "0.28.1",
    "asyncpg": "0.32.0",
    "psycopg": "3.3.9",
    "redis": "8.1.0",
}
CLEAN = [
    ("aiohttp", "three at once", "3.14.5"),
    ("aiolimiter", "AsyncLimiter", "1.3.0"),
    ("aiosqlite", "transaction", "0.22.1"),
    ("async_lru", "alru_cache", "2.4.0"),
    ("httpx", "three at once, in a Group of tether", "0.28.1"),
    ("httpx2", "get", "2.16.2"),
    ("janus", "get", "2.0.0"),
    ("psycopg", "pool: query", "3.3.9"),
    ("starlette", "StreamingResponse", "1.10.0"),
    ("tenacity", "retry", "9.2.1"),
    ("websockets", "connect, send, recv", "17.4"),
]


def operation(module: str, name: str) -> tuple[str, Operation]:
    package, found = operations(module)
    return package, next(one for one in found if one.name == name)


def problems(report: Report) -> str:
    return "\n".join(finding.problem for finding in report.findings)


@pytest.mark.parametrize(("module", "name", "words"), FOUND)
def test_the_sweep_finds_it_if_one_cancel_alone_shows_it(
    module: str, name: str, words: str
) -> None:
    package, swept = operation(module, name)
    script = importlib.import_module(f"bench.packages.confirm.{swept.shown_by}")
    shown: str = asyncio.run(script.shown())
    report = swept.swept()
    assert (words in problems(report)) is bool(shown), (shown, str(report))
    if package in KNOWN and version(package) == KNOWN[package]:
        assert shown, f"{package} {KNOWN[package]} had this"


@pytest.mark.parametrize(("module", "name", "known"), CLEAN)
def test_it_finds_nothing_where_nothing_is_known(
    module: str, name: str, known: str
) -> None:
    package, swept = operation(module, name)
    report = swept.swept()
    if version(package) == known:
        assert report.verdict is not Verdict.FAIL, str(report)
    assert report.delivered, str(report)


def test_whatever_fails_has_a_script() -> None:
    named = {one.shown_by for module in MODULES for one in operations(module)[1]}
    for script in named - {""}:
        assert importlib.import_module(f"bench.packages.confirm.{script}").shown
