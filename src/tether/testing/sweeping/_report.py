"""What a sweep says: the verdict, what was run for it, the findings."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from typing import final

from ._places import Cut
from ._trace import AGAIN, Kind, Trace


class Verdict(Enum):
    """What is known now."""

    PASS = "PASS"  # noqa: S105
    """Ended at every place that was found, and nothing was wrong."""
    FAIL = "FAIL"
    """Something was wrong."""
    UNRESOLVED = "UNRESOLVED"
    """Nothing was wrong where it could be ended; but that was not everywhere."""


@final
@dataclass(frozen=True, slots=True)
class Finding:
    """Something that goes wrong when the operation is ended in some places."""

    problem: str
    """What is wrong, the first line by itself."""
    cuts: tuple[Cut, ...]
    """Where and how it was ended; the first is the shortest way to see it."""
    chain: tuple[str, ...]
    """The awaits it was in, the outermost first."""

    def __str__(self) -> str:
        first, *others = self.cuts
        head, _, rest = self.problem.partition("\n")
        lines = [head, *(rest.splitlines() if rest else [])]
        lines.append(f"  ended at: {first}")
        lines += [
            f"  {AGAIN}" if line == AGAIN else f"    awaits {line}"
            for line in self.chain
        ]
        if others:
            also = ", ".join(map(str, others[:3]))
            more = f" and {len(others) - 3} more" if len(others) > 3 else ""
            lines.append(f"  also at: {also}{more}")
        return "\n".join(lines)


@final
class SweepError(AssertionError):
    """A sweep that did not pass; `report` has it all, and is the text."""

    def __init__(self, report: Report) -> None:
        self.report = report
        super().__init__(str(report))


@final
@dataclass(frozen=True, slots=True)
class Report:
    """What a sweep has shown."""

    name: str
    findings: tuple[Finding, ...]
    noise: tuple[str, ...]
    """What is left behind without any end, too, and is not counted."""
    unresolved: tuple[str, ...]
    """What could not be tried, and what is wrong without any end, so tells nothing."""
    delivered: tuple[Cut, ...]
    """The ends that it was given, each in a run of its own."""
    missed: tuple[Cut, ...]
    """Ends that cannot be: late where nothing comes, or when it is over already."""
    places: int
    """How many places were found."""
    runs: int

    @property
    def reached(self) -> int:
        """At how many of the places it was ended, in one way or more."""
        return len({cut.place for cut in self.delivered})

    @property
    def verdict(self) -> Verdict:
        """PASS, FAIL or UNRESOLVED."""
        if self.findings:
            return Verdict.FAIL
        if self.unresolved or not self.delivered or self.reached < self.places:
            return Verdict.UNRESOLVED
        return Verdict.PASS

    def verify(self) -> None:
        """Raise `SweepError` unless it has passed."""
        if self.verdict is not Verdict.PASS:
            raise SweepError(self)

    def __str__(self) -> str:
        count = len(self.findings)
        said = f"{count} finding{'s' if count != 1 else ''}, " if count else ""
        said += f"ended at {self.reached} of {self.places} places"
        counts = Counter(
            "twice" if cut.again else f"{cut.moment.value} {cut.means.value}"
            for cut in self.delivered
        )
        ways = ", ".join(f"{number} {way}" for way, number in counts.items()) or "none"
        lines = [
            f"{self.verdict.value}  {self.name}: {said} ({ways}) in {self.runs} runs"
        ]
        for number, finding in enumerate(self.findings, start=1):
            head, *rest = str(finding).splitlines()
            lines += [f"{number}. {head}", *(f"   {line}" for line in rest)]
            lines.append(f"   replay: at={str(finding.cuts[0])!r}")
        if not self.places:
            lines.append(
                "it never waits (if it is a plain function: never looks at its ctx), "
                "so there is nowhere to end it"
            )
        lines += [f"unresolved: {line}" for line in self.unresolved]
        if self.missed and not self.delivered:
            lines += [f"cannot be ended so: {cut}" for cut in self.missed]
        lines += [
            f"not counted, as it is so without an end: {one}" for one in self.noise
        ]
        return "\n".join(lines)


def findings(
    traces: Iterable[Trace], anyway: set[tuple[Kind, str]]
) -> tuple[Finding, ...]:
    """The problems of all runs, each once, those first that come soonest.

    But none that there is `anyway`, without an end.
    """
    cuts: dict[tuple[Kind, str], list[Cut]] = {}
    first: dict[tuple[Kind, str], tuple[str, tuple[str, ...]]] = {}
    for trace in traces:
        assert trace.cut is not None
        problems = {one.same: one for one in reversed(trace.problems)}
        for same in dict.fromkeys(one.same for one in trace.problems):
            if same not in anyway:
                cuts.setdefault(same, []).append(trace.cut)
                first.setdefault(same, (problems[same].text, trace.chain))
    return tuple(
        Finding(text, tuple(cuts[same]), chain) for same, (text, chain) in first.items()
    )
