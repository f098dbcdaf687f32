"""What the stress tests share."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest

from tether import _current


@pytest.fixture
def seed() -> int:
    """Another one each time; shown when the test fails."""
    number = random.SystemRandom().randrange(1 << 32)
    print(f"seed {number}")
    return number


@pytest.fixture(autouse=True)
def _own_variables() -> Iterator[None]:
    """Blocks that a test leaves open on purpose are not current in the next test."""
    yield
    _current.var.set(None)
