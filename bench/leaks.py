"""`python -m bench leaks [--quick]`: which tool notices which leak, a table of words.

The leaks, and for each a twin that leaves nothing behind, are those of
`tests/testing/leaking.py`. A tool is used as its own pages tell. Each cell is a run of
pytest with one test, in a process of its own.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.testing.leaking import LEAKS

ROOT = Path(__file__).parents[1]
LIMIT = 20.0  # seconds after which a run hangs; the slowest other takes five
TEARDOWN = "task kept, by a fixture's teardown"
SOON = "task that ends a little later"  # no leak, and so only among the twins
MISSING = "not installed"
TOLD = "was destroyed|never retrieved|never awaited|ResourceWarning"

RUN = {
    "pytest-asyncio": """
import pytest, pytest_asyncio
pytestmark = [pytest.mark.asyncio, *MARKS]
fixture = pytest_asyncio.fixture
""",
    "anyio": """
import pytest
pytestmark = [pytest.mark.anyio, *MARKS]
fixture = pytest.fixture
@fixture
def anyio_backend(): return "asyncio"
""",
}
BODY = """
async def test_it():
    await {table}[{name!r}]()
"""
AFTER = """
@fixture
async def leaves():
    yield
    await {table}["task kept, waits for ever"]()

async def test_it(leaves):
    pass
"""
# Ends what was left behind when all has been said, or its threads would keep the
# process.
CONFTEST = """
from tests.testing.leaking import sweep_up

def pytest_unconfigure():
    sweep_up()
"""


@dataclass(frozen=True)
class Tool:
    """What is switched on; the runner is the plugin that runs coroutines."""

    name: str
    packages: tuple[str, ...]
    runner: str = "pytest-asyncio"
    options: tuple[str, ...] = ()
    mark: str = ""
    env: tuple[tuple[str, str], ...] = ()


ASYNCIO = (
    *("-p", "pytest_asyncio.plugin"),
    "-oasyncio_default_fixture_loop_scope=function",
)
TOOLS = (
    Tool(
        "tether",
        ("tether", "pytest-asyncio"),
        options=(*ASYNCIO, *("-p", "tether.testing.plugin"), "-otether_leaks=strict"),
    ),
    Tool("pytest-asyncio", ("pytest-asyncio",), options=ASYNCIO),
    Tool(
        "pytest-asyncio, -X dev -W error",
        ("pytest-asyncio",),
        options=(*ASYNCIO, "-Werror"),
        env=(("PYTHONDEVMODE", "1"),),
    ),
    Tool("anyio", ("anyio",), "anyio", options=("-p", "anyio.pytest_plugin")),
    Tool(
        "pyleak",
        ("pyleak", "pytest-asyncio"),
        options=(*ASYNCIO, "-p", "pyleak.pytest_plugin", "-omarkers=no_leaks"),
        mark="pytest.mark.no_leaks",
    ),
    Tool(
        "pyleak, every thread",
        ("pyleak", "pytest-asyncio"),
        options=(*ASYNCIO, "-p", "pyleak.pytest_plugin", "-omarkers=no_leaks"),
        mark="pytest.mark.no_leaks("
        "tasks=True, threads=True, exclude_daemon_threads=False, "
        "thread_name_filter=None)",
    ),
    Tool(
        "pytest-threadleak, pytest-openfiles",
        ("pytest-threadleak", "pytest-openfiles", "pytest-asyncio"),
        options=(
            *ASYNCIO,
            *("-p", "pytest_threadleak", "--threadleak"),
            *("-p", "pytest_openfiles.plugin", "--open-files"),
        ),
    ),
)


def versions() -> dict[str, str]:
    """Which interpreter and which tools are compared."""
    names = {"pytest", *(name for tool in TOOLS for name in tool.packages)}
    python = ".".join(map(str, sys.version_info[:3]))
    return {"python": python, **{name: _version(name) for name in sorted(names)}}


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return MISSING


def cell(tool: Tool, table: str, name: str) -> str:
    """What comes of a run of one leak, or of its twin, in a word."""
    if MISSING in map(_version, tool.packages):
        return MISSING
    body = (AFTER if name == TEARDOWN else BODY).format(table=table, name=name)
    source = f"from tests.testing.leaking import {table}\n"
    source += RUN[tool.runner].replace("*MARKS", tool.mark) + body
    with TemporaryDirectory() as folder:
        Path(folder, "test_it.py").write_text(source, encoding="utf-8")
        Path(folder, "conftest.py").write_text(CONFTEST, encoding="utf-8")
        Path(folder, "pytest.ini").write_text("[pytest]\n", encoding="utf-8")
        try:
            done = subprocess.run(
                [
                    *(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"),
                    *tool.options,
                ],
                cwd=folder,
                env={
                    **os.environ,
                    "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
                    "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "src")]),
                    **dict(tool.env),
                },
                capture_output=True,
                text=True,
                timeout=LIMIT,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return "hangs"
    return _word(done.returncode, done.stdout, done.stderr)


def _word(code: int, out: str, err: str) -> str:
    summary = re.findall(r"^.*\d+ (?:passed|failed|error).* in .*$", out, re.MULTILINE)
    if code not in {0, 1} or not summary:
        raise RuntimeError(f"the test has not run: {out}{err}")
    if re.search(r"\d+ (failed|error)", summary[-1]):
        return "fails"
    if "warning" in summary[-1]:
        return "warns"
    return "logs" if re.search(TOLD, out + err) else "nothing"


def table(*, quick: bool) -> list[list[str]]:
    """The cells with their headings: a leak's word / that of its twin."""
    names = [*LEAKS, TEARDOWN, SOON]
    if quick:
        names = names[:1]
    cells = [
        (tool, which, name)
        for name in names
        for tool in TOOLS
        for which in ("LEAKS", "CLEAN")
        if (which, name) != ("LEAKS", SOON)
    ]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        words = dict(zip(cells, pool.map(lambda one: cell(*one), cells)))
    rows = [
        [
            name,
            *(
                f"{words.get((tool, 'LEAKS', name), '-')} / "
                f"{words[tool, 'CLEAN', name]}"
                for tool in TOOLS
            ),
        ]
        for name in names
    ]
    for title, which in (("leaks that fail", "LEAKS"), ("twins that fail", "CLEAN")):
        counts = [
            [word for one, word in words.items() if one[:2] == (tool, which)].count(
                "fails"
            )
            for tool in TOOLS
        ]
        rows.append([title, *map(str, counts)])
    return [["leak / its twin", *(tool.name for tool in TOOLS)], *rows]


def main(words: list[str]) -> int:
    """Print the table, ready for a page."""
    parser = argparse.ArgumentParser(
        prog="python -m bench leaks",
        description="Run each leak under each tool; print what becomes of the test.",
    )
    parser.add_argument("--quick", action="store_true", help="one leak: does it run?")
    head, *body = table(quick=parser.parse_args(words).quick)
    print(", ".join(f"{name} {version}" for name, version in versions().items()))
    for row in (head, ["---"] * len(head), *body):
        print(f"| {' | '.join(row)} |")
    return 0
