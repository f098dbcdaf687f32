"""What a replay shows: if it is what was promised, and how each variant fell short.

Everything said here is read off the figures; nothing is known of a variant beforehand.
"""

from __future__ import annotations

from demo.figures import Figures, figures, roots
from demo.replay import Record

SOON = 5.0  # seconds
FIXED = "BLS"


def shortfalls(record: Record) -> list[str]:
    """In what a variant falls short, a sentence each; none if in nothing."""
    seen, line, places = figures(record), record.line, record.scale.places
    where = ", ".join(f"`{code}` {n}" for _, code, n in roots(record)[:2])
    found = []
    if seen.killed:
        found.append(
            f"{_count(seen.killed, 'pod')} killed by the memory limit, with up to"
            f" {seen.most_prefetches} prefetches in one, stuck in {where}"
        )
    if seen.answered < 99.0:
        found.append(f"{_count(seen.failed, 'request')} failed")
    if seen.lost:
        found.append(f"{seen.lost} of {seen.promised} promised payments lost")
    if seen.prefetched_before < 80.0:
        found.append(
            f"on a good day {seen.prefetched_before:.0f} % of the carts had their"
            " recommendations: the others were canceled with the request"
        )
    elif seen.most_prefetches > places and not seen.killed:
        found.append(
            f"up to {seen.most_prefetches} prefetches at a time in a pod, where there"
            f" should be {places}: as many as the traffic brings"
        )
    if seen.normal_after is None:
        found.append(
            f"not normal again {line.stop - line.recovered:.0f} s after the recovery,"
            f" {seen.still_stuck} prefetches still stuck"
        )
    elif seen.normal_after > SOON:
        found.append(f"normal again only {seen.normal_after:.0f} s after the recovery")
    if seen.most_prefetches <= places and seen.shed and found:
        found.append(
            f"{seen.shed} prefetches shed, the places taken by those stuck in {where}"
        )
    return found


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def promises(records: list[Record]) -> dict[str, bool]:
    """What the demo is to show, and whether it did this time."""
    kept: dict[str, bool] = {}
    for record in records:
        seen = figures(record)
        if record.variant == FIXED:
            kept |= _of_the_fixed(seen)
        elif record.variant == "incident":
            rooted = [root for root, _, _ in roots(record)]
            kept["incident: a pod was killed by its memory limit"] = seen.killed > 0
            kept["incident: its stuck tasks are those of the prefetch"] = bool(
                rooted
            ) and all("_prefetch" in root for root in rooted)
        else:
            name = f"{record.variant}: falls short"
            kept[name] = bool(shortfalls(record))
    return kept


def _of_the_fixed(seen: Figures) -> dict[str, bool]:
    return {
        "BLS: 99 % are answered": seen.answered >= 99.0,
        "BLS: p99 at most twice its own before": (
            seen.p99_degraded <= 2.0 * seen.p99_before
        ),
        "BLS: no pod is killed": seen.killed == 0,
        "BLS: no promised payment is lost at SIGTERM": seen.lost == 0,
    }
