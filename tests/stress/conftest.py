"""What the stress tests share."""

from __future__ import annotations

import random

import pytest


@pytest.fixture
def seed() -> int:
    """Another one each time; shown when the test fails."""
    number = random.SystemRandom().randrange(1 << 32)
    print(f"seed {number}")
    return number
