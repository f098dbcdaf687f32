"""Names of series: only so many of them, for good."""

from __future__ import annotations

from typing import final

from tether import Context

OTHER = "other"


@final
class Names:
    """The first so many names; what comes then has one for all.

    Without a lock, as a finalizer may ask in the middle of anything: two threads at
    once may make it one more.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._known: set[str] = set()

    def of(self, name: str) -> str:
        """The name of the series for this name."""
        name = name or "none"
        if name not in self._known:
            # Half a character, as of a file's name, would fail each scrape from now on.
            name = name.encode("utf-8", "backslashreplace").decode("utf-8")
        if name not in self._known:
            if len(self._known) >= self._most:
                return OTHER
            self._known.add(name)
        return name

    def all(self) -> list[str]:
        """Those that were given."""
        return [*self._known]


def label(ctx: Context | None) -> str:
    """The label of a context; "" if there is none."""
    try:
        return "" if ctx is None else ctx.label
    except Exception:
        return ""  # a context of the user's own above it fails; it is there anyway
