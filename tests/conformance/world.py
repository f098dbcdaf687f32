"""All that one scenario knows while it is played."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from typing import Protocol

from tests.conformance.grammar import BadVectorsError
from tests.conformance.naming import Errors, Keys
from tests.conformance.work import Log, Work
from tether import (
    Context,
    Group,
    Scope,
    Semaphore,
    WaitGroup,
    background,
    todo,
)

# One scenario millisecond in seconds: exact in floats, so equal instants are equal.
MS = 1 / 1024

# Longer than any script: how long a waiter waits that nothing can ever wake.
FAR = 1 << 20

Stop = Callable[[], bool]


class Way(Protocol):
    """How the script lets time pass, and how what it starts waits."""

    @property
    def name(self) -> str: ...

    def now(self) -> float: ...

    def settle(self) -> Awaitable[None]: ...

    def advance(self, seconds: float) -> Awaitable[None]: ...

    def wait(
        self,
        name: str,
        ctx: Context,
        seconds: float | None,
        woke: Callable[[bool], None],
    ) -> None: ...

    def beside(
        self,
        name: str,
        call: Callable[[], object],
        call_async: Callable[[], Awaitable[object]],
    ) -> None:
        """Makes one of the two calls, as work: the first in a thread."""

    async def sleep(self, seconds: float) -> None:
        """Sleeps in the work that calls it."""

    async def wait_here(self, ctx: Context, seconds: float) -> bool:
        """Waits in the work that calls it; whether the context is done."""


class World:
    """The names of one scenario, and its log, clock and work."""

    def __init__(self, way: Way, work: Work) -> None:
        self.way = way
        self.work = work
        self.errors = Errors()
        self.keys = Keys()
        self.log = Log(self.now)
        self.stops: dict[str, Future[Stop]] = {}
        self.semaphores: dict[str, Semaphore] = {}
        self.groups: dict[str, Group | WaitGroup] = {}
        self.group_ctx: dict[str, str] = {}  # by the groups that have a context
        self.returned: float | int = 0  # when the last call that may wait did
        # What observing `*` shows: without roots and members of chains and fans.
        self.shown: list[str] = []
        # Contexts that can never be done, as the script tells: Go's Done is nil.
        self.endless = {"bg", "todo"}
        self._contexts: dict[str, Context | None] = {
            "bg": background(),
            "todo": todo(),
            "nil": None,
        }
        self._own: list[Scope] = []
        self._origin = way.now()

    def now(self) -> float | int:
        """The clock, in scenario milliseconds."""
        return self.in_ms(self.way.now())

    def in_ms(self, instant: float) -> float | int:
        """An instant of tether's clock, in milliseconds from the start."""
        return whole((instant - self._origin) / MS)

    def instant(self, ms: int) -> float:
        """The instant of tether's clock that many milliseconds from the start."""
        return self._origin + ms * MS

    def parent(self, name: str) -> Context | None:
        """The context of that name; None for `nil`."""
        try:
            return self._contexts[name]
        except KeyError:
            raise BadVectorsError(f"no context is named {name!r} here") from None

    def context(self, name: str) -> Context:
        """The context of that name, which must be one."""
        ctx = self.parent(name)
        if ctx is None:
            raise BadVectorsError(f"{name!r} is no context")
        return ctx

    def add(self, name: str, ctx: Context, *, shown: bool, endless: bool) -> None:
        """Gives a new context its name."""
        if name in self._contexts:
            raise BadVectorsError(f"the context {name!r} is made twice")
        self._contexts[name] = ctx
        if shown:
            self.shown.append(name)
        if endless:
            self.endless.add(name)

    def ending(self, scope: Scope) -> Scope:
        """A scope of the runner's own, to end with those that the script made."""
        self._own.append(scope)
        return scope

    def add_group(self, name: str, group: Group | WaitGroup) -> None:
        """Gives a new group its name."""
        if name in self.groups:
            raise BadVectorsError(f"the group {name!r} is made twice")
        self.groups[name] = group

    def made(self) -> list[Context]:
        """Every context that was made, those of the script in order."""
        made = list(self._contexts.values())[3:]
        return [*(ctx for ctx in made if ctx is not None), *self._own]

    def members(self, prefix: str) -> list[str]:
        """The names of the members of a chain or fan."""
        names = [name for name in self._contexts if name.startswith(f"{prefix}.")]
        if not names:
            raise BadVectorsError(f"no chain or fan is named {prefix!r} here")
        return names


def whole(number: float) -> float | int:
    """The number as an int if it is one, so that it compares with Go's."""
    return int(number) if number.is_integer() else number
