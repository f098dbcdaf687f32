"""What is swept of a package: an operation, used as its documentation shows it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tether.testing import Report, sweep


@dataclass(frozen=True)
class Operation:
    """One use of a package, and what must hold after it."""

    name: str
    op: Callable[..., object]
    setup: Callable[[], object] | None = None
    check: Callable[..., object] | None = None
    real_time: bool = False  # where something outside answers
    limit: float = 20.0  # seconds of the clock that it runs on
    needs: Callable[[], object] | None = None  # starts a service beforehand
    shown_by: str = ""  # the script in `confirm` that shows what is found

    def swept(self) -> Report:
        """What the sweep says of it."""
        if self.needs is not None:
            self.needs()
        return sweep(
            self.op,
            setup=self.setup,
            check=self.check,
            limit=self.limit,
            real_time=self.real_time,
        )
