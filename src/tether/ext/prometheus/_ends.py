"""How contexts have ended: counted when they are gone, or when somebody looks.

A count at the end itself would be paid for by each scope of every program, with the
metrics off as well. A finalizer there is anyway. What is over and not gone is looked up
for each scrape, so the sum is right at any time.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from threading import RLock
from typing import final
from weakref import ref

from tether import ClientDisconnected, DeadlineExceeded, Scope, _clock
from tether._describe import own_label
from tether._tree import LEFT, NO_DEADLINE, End

from ._names import Names

Tally = Counter[tuple[str, str]]
KEPT = 1000  # more than there are finalizers at work at any moment


@final
class Ends:
    """Counts those that are gone, by root and cause."""

    def __init__(self, roots: Names) -> None:
        self._roots = roots
        # Re-entrant: a collection may come in between, and finalizers with it.
        self._lock = RLock()
        self._gone: Tally = Counter()
        # The latest that were counted. While its finalizer is at work, an object can
        # still be found by whoever looks, who would count it again.
        self._counted: list[ref[Scope]] = []
        self._looking = False

    def dropped(self, scope: Scope) -> None:
        """One is gone. See `_watching.dropped`."""
        key = self._roots.of(own_label(scope)), cause_of(scope)
        with self._lock:
            self._gone[key] += 1
            self._counted.append(ref(scope))
            if len(self._counted) > KEPT and not self._looking:
                del self._counted[: KEPT // 2]

    @contextmanager
    def looking(self) -> Iterator[None]:
        """A block in which one who scrapes looks who is there, and asks for `all`."""
        self._looking = True
        try:
            yield
        finally:
            self._looking = False

    def all(self, there: list[Scope]) -> Tally:
        """Of all that have ended; `there` are those of them that are not gone."""
        with self._lock:
            # A copy, made in one step: see above, another may go in between.
            done = Counter(self._gone)
            counted = {id(noted()) for noted in [*self._counted]}
        for scope in there:
            if id(scope) in counted:
                continue
            if scope._end is None:
                scope.done()  # commits what nobody has looked at, and so its cause
            done[self._roots.of(own_label(scope)), cause_of(scope)] += 1
        return done


def cause_of(scope: Scope) -> str:
    """What has ended a scope that is over, or gone."""
    end, up = scope._end, scope._up
    if end is None:  # it is gone, and nobody has ever looked
        if scope._is_alone():
            return "dropped"
        mine = scope._cause is not NO_DEADLINE and scope._deadline <= _clock.now()
        return "deadline_exceeded" if mine else "parent"
    if not isinstance(end, End):  # the instant, of what only itself can have done
        return "left" if scope._state == LEFT else "canceled"
    if end.source is not None or (up is not None and up._end is end):
        return "parent"
    if isinstance(end.cause, ClientDisconnected):
        return "client_disconnected"
    if end.error is DeadlineExceeded:
        return "deadline_exceeded"
    return "left" if end.left else "canceled"
