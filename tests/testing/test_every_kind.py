"""Each of the nineteen kinds of leaks fails a test, and no tidy twin does.

With the real plugin in a real run of pytest: tether's column of `python -m bench leaks`.
"""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

import pytest

from tests.testing.leaking import CLEAN, LEAKS

pytest_plugins = ["pytester"]

ROOT = Path(__file__).parents[2]
SUITE = """
import asyncio
import pytest, pytest_asyncio
from tests.testing.leaking import CLEAN, LEAKS

@pytest.fixture(params=list(LEAKS))
def leak(request):
    return LEAKS[request.param]

@pytest.fixture(params=list(CLEAN))
def twin(request):
    return CLEAN[request.param]

async def test_leaks(leak):
    await leak()

async def test_is_tidy(twin):
    await twin()

def test_is_tidy_in_a_loop_of_its_own(twin):
    asyncio.run(twin())

@pytest_asyncio.fixture
async def leaves():
    yield
    await LEAKS["task kept, waits for ever"]()

async def test_leaks_in_a_fixture(leaves):
    pass

@pytest_asyncio.fixture
async def leaves_nothing():
    yield
    await CLEAN["task kept, waits for ever"]()

async def test_is_tidy_in_a_fixture(leaves_nothing):
    pass
"""
# After each test, when all has been said.
CONFTEST = """
from tests.testing.leaking import sweep_up

def pytest_runtest_logfinish():
    sweep_up()
"""


def test_each_kind_fails_its_test_and_no_twin_does(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    path = [str(ROOT), *filter(None, sys.path)]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(path))
    pytester.makepyfile(SUITE)
    pytester.makeconftest(CONFTEST)
    result = pytester.runpytest_subprocess(
        *("-p", "tether.testing.plugin", "-o", "tether_leaks=strict"),
        *("-p", "pytest_asyncio.plugin", "-o", "asyncio_mode=auto"),
        *("-o", "asyncio_default_fixture_loop_scope=function"),
        *("-p", "no:cacheprovider", "-q", "-rE", "--tb=no"),
    )
    result.assert_outcomes(passed=len(LEAKS) + 2 * len(CLEAN) + 2, errors=19)
    # Where the variable CI is set, pytest tells the reason as well.
    line = re.compile(r"^ERROR \S+?::(.+?)(?: - .*)?$", re.MULTILINE)
    failed = set(line.findall(result.stdout.str()))
    assert failed == {
        *(f"test_leaks[{name}]" for name in LEAKS),
        "test_leaks_in_a_fixture",
    }
