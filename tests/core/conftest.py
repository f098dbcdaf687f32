"""Fixtures of the tests of the core."""

from __future__ import annotations

import pytest

from tests.core.sides import SIDES, Play, play_on


@pytest.fixture(params=SIDES)
def play(request: pytest.FixtureRequest) -> Play:
    """Call it with a test for a side; once in threads and once for each loop."""
    return play_on(request.param)
