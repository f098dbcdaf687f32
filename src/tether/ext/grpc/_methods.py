"""What a method of a followed channel knows of itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ._counting import Method, method_of

if TYPE_CHECKING:
    from ._metrics import Metrics


class Followed:
    """A method of a stub that is called within `current()`; see `_follow`.

    `reads` and `writes`, as a server sees it: a stream of requests, of responses.
    """

    def __init__(
        self, raw: Any, path: str, metrics: Metrics | None, *, reads: bool, writes: bool
    ) -> None:
        self.raw = raw
        self.labels: Method = method_of(path, reads=reads, writes=writes)
        self.metrics = metrics
        self.reads = reads
        self.writes = writes
