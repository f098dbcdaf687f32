"""Random programs: tether and the reference give the same answers at every step."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.model.machine import Machine

BASE = settings(
    deadline=None,
    print_blob=True,
    report_multiple_bugs=False,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)


def test_tether_does_what_the_reference_does() -> None:
    some = settings(BASE, max_examples=150, stateful_step_count=30)
    run_state_machine_as_test(Machine, settings=some)


@pytest.mark.stress
def test_tether_does_what_the_reference_does_in_long_programs() -> None:
    long = settings(BASE, max_examples=12, stateful_step_count=120)
    run_state_machine_as_test(Machine, settings=long)
