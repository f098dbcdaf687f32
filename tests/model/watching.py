"""Looks at each step what is in memory, what was warned of, which descriptors are open.

The collector does not run by itself meanwhile, or else what it does would be found at
whichever step it came to. It is asked to run often; what was loaded before the tests of
a module, tests/conftest.py keeps out of its way.
"""

from __future__ import annotations

import gc
import os
import select
import warnings
import weakref
from collections.abc import Iterable

from tests.model.memory import above, memory
from tests.model.reference import CANCELABLE, Ref, World
from tether import Context


class Watching:
    """The contexts that were made and are not known to be gone."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.alive: dict[Ref, weakref.ref[Context]] = {}
        self.fds: dict[Ref, int] = {}
        self._warned: list[type[Warning]] = []
        gc.collect()
        gc.disable()
        self._catching = warnings.catch_warnings()
        self._catching.__enter__()
        warnings.simplefilter("always")
        warnings.showwarning = self._note  # type: ignore[assignment]

    def _note(self, _: object, category: type[Warning], *more: object) -> None:
        self._warned.append(category)  # and not the warning, which holds the scope

    def stop(self) -> None:
        self._catching.__exit__(None, None, None)
        gc.enable()

    def made(self, ctx: Context, ref: Ref) -> None:
        self.alive[ref] = weakref.ref(ctx)

    def look(self, roots: Iterable[Ref]) -> None:
        """What nobody holds is gone, except what only the collector finds.

        The descriptors of the others are readable once they are over.
        """
        found = memory(self.world, self.alive, roots)
        self._gone({*self.alive} - found.held - found.lingering)
        fds = {fd: owner for owner, fd in self.fds.items()}
        assert len(fds) == len(self.fds)
        readable, _, _ = select.select(list(fds), [], [], 0)
        assert set(readable) == {fd for fd in fds if fds[fd].end is not None}

    def collect(self, roots: Iterable[Ref]) -> None:
        """Have the collector come: what nobody holds is gone."""
        gc.collect()
        self._gone({*self.alive} - memory(self.world, self.alive, roots).held)

    def _gone(self, gone: set[Ref]) -> None:
        assert {ref for ref, weak in self.alive.items() if weak() is None} == gone
        never = [ref for ref in gone if ref.kind == CANCELABLE and ref.end is None]
        # Of a long chain only the upper part is warned of.
        warned = [ResourceWarning for ref in never if len(above(ref)) < 16]
        assert self._warned == warned
        self._warned.clear()
        for ref in gone:
            del self.alive[ref]
            assert ref not in self.fds or is_closed(self.fds.pop(ref))


def is_closed(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return True
    return False
