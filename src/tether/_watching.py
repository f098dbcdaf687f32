"""What the metrics are told of; None where nobody wants to know.

As `_live.made`: whoever reports looks at one name of this module, and calls it if there
is somebody. The core knows no library of metrics, and they need not know each other.
"""

from __future__ import annotations

from collections.abc import Callable

# A call to another service begins: how many seconds its context has left, or INF.
calling: Callable[[float], None] | None = None

# A block of `ctx.interrupting(fn)` was left after its context ended: `fn`, and how many
# seconds that took from when `fn` began to run.
released: Callable[[Callable[[], object], float], None] | None = None
