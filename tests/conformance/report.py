"""What a run prints."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from tests.conformance.compare import Difference
    from tests.conformance.vectors import Scenario


@dataclass
class Tally:
    """How many scenarios passed and failed."""

    passed: int = 0
    failed: int = 0

    def add(self, passed: bool) -> None:
        if passed:
            self.passed += 1
        else:
            self.failed += 1

    def __str__(self) -> str:
        return f"{self.passed} passed, {self.failed} failed"


@dataclass
class Report:
    """The results so far: of each way, of all scenarios, and what was not run."""

    out: TextIO = field(default_factory=lambda: sys.stdout)
    ways: dict[str, Tally] = field(default_factory=dict)
    all: Tally = field(default_factory=Tally)
    not_waiting: list[Scenario] = field(default_factory=list)

    def played(
        self, scenario: Scenario, way: str, differences: Sequence[Difference]
    ) -> None:
        """Counts one scenario played in one way, and prints how it differed."""
        self.ways.setdefault(way, Tally()).add(not differences)
        if differences:
            print(f"{scenario.file} {scenario.id} [{way}]", file=self.out)
        for difference in differences:
            print(f"  {difference.step}", file=self.out)
            print(f"    Go      {difference.go}", file=self.out)
            print(f"    tether  {difference.tether}", file=self.out)

    def lacking(self, file: str, what: str) -> None:
        """Prints why scenarios of a file cannot be played."""
        print(f"{file}: needs {what}", file=self.out)

    def summary(self) -> None:
        """Prints the ways apart, and the last line: all scenarios, each once."""
        print(file=self.out)
        for way, tally in self.ways.items():
            print(f"{way}: {tally}", file=self.out)
        if self.not_waiting:
            tags = Counter(
                tag for scenario in self.not_waiting for tag in scenario.tags
            )
            bare = sum(not scenario.tags for scenario in self.not_waiting)
            counts = [f"{tag} {number}" for tag, number in sorted(tags.items())]
            if bare:
                counts.append(f"without tag {bare}")
            print(
                f"not run on asyncio, as their scripts do not wait: "
                f"{len(self.not_waiting)} (by tag: {', '.join(counts)})",
                file=self.out,
            )
        print(self.all, file=self.out)
