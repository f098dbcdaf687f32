"""Fixtures of the tests of the core."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.core.sides import SIDES, Play, play_on


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Nothing may be left behind by a test of the core."""
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.tether_leaks, append=True)


@pytest.fixture(params=SIDES)
def play(request: pytest.FixtureRequest) -> Play:
    """Call it with a test for a side; once in threads and once for each loop."""
    return play_on(request.param)
