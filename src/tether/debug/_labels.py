"""Labels with ids in them, as `GET /carts/17`: many of one place are told as one.

A label is the path of a request where nobody knows the route. A line for each cart
would be 41,000 lines, which no one reads and no browser draws.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

MOST = 200  # labels of one place that are all told
SHARE = 0.01  # of the place: a label that has as much is told even so


def told(counts: Mapping[str, int]) -> set[str]:
    """The labels of one place that are told by themselves."""
    if len(counts) <= MOST:
        return {*counts}
    least = max(2.0, SHARE * sum(counts.values()))
    return {label for label, count in counts.items() if count >= least}


def folded(labels: Collection[str]) -> str:
    """One name for the others: `GET /carts/… (40,812 labels)`."""
    first, last = min(labels), max(labels)
    same = 0
    for one, other in zip(first, last, strict=False):
        if one != other:
            break
        same += 1
    return f"{first[:same]}… ({len(labels):,} labels)"
