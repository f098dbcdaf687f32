"""Random programs on semaphores and queues, with cancels at every point."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis.stateful import run_state_machine_as_test

from tests.model.lines import Lines, Queues, Semaphores
from tests.model.test_model import BASE


@pytest.mark.parametrize("machine", [Semaphores, Queues])
def test_it_does_what_must_come_out(machine: type[Lines]) -> None:
    some = settings(BASE, max_examples=150, stateful_step_count=25)
    run_state_machine_as_test(machine, settings=some)


@pytest.mark.stress
@pytest.mark.parametrize("machine", [Semaphores, Queues])
def test_it_does_what_must_come_out_in_long_programs(machine: type[Lines]) -> None:
    long = settings(BASE, max_examples=60, stateful_step_count=100)
    run_state_machine_as_test(machine, settings=long)
