"""How long to wait for what is about to end: goleak's way.

Pauses that double, at most a tenth of a second each, about half a second in all.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator

PATIENCE = 0.5
FIRST = 0.000_001
LONGEST = 0.1


def pauses(patience: float = PATIENCE) -> Iterator[float]:
    """The seconds to wait before each next look; look, and stop if nothing is left.

    On the way it collects garbage once, since what is only garbage is no leak.
    """
    spent, pause, collected = 0.0, FIRST, False
    while spent < patience:
        yield pause
        spent += pause
        pause = min(2 * pause, LONGEST)
        if not collected and pause > 0.001:
            collected = True
            gc.collect()
