"""What is swept: the operation, its state, what must hold afterwards."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any, final

from ..._checks import callable_, seconds_
from ..._context import Context
from ._trace import Trace

BROKEN = (
    "the check of {name} raises {what} although nothing was ended; it raises "
    "AssertionError, or returns a text or False, if something is wrong"
)
NOT_PLAIN = (
    "{name} is a plain function that returns something to await: give sweep() the "
    "async def itself, or a functools.partial of it"
)
NO_CTX = (
    "sweep() ends a plain function through the ctx that it takes first; {name} takes "
    "none. If it returns a coroutine, give the async def itself, or a functools.partial"
)


@final
@dataclass(frozen=True)
class Case:
    """An operation and all that belongs to it."""

    op: Callable[..., object]
    setup: Callable[[], object] | None
    check: Callable[..., object] | None
    limit: float
    name: str
    takes_ctx: bool
    takes_state: bool

    @property
    def is_async(self) -> bool:
        """Whether it is swept as a task; else as a function in a thread."""
        return inspect.iscoroutinefunction(self.op) or inspect.iscoroutinefunction(
            getattr(self.op, "__call__", None)  # noqa: B004
        )

    def call(self, ctx: Context, state: object) -> Any:
        """Call the operation with what it takes."""
        args: list[object] = [ctx] if self.takes_ctx else []
        return self.op(*args, *([state] if self.takes_state else []))

    def call_plainly(self, ctx: Context, state: object, trace: Trace) -> None:
        """Call what is a plain function."""
        said = self.call(ctx, state)
        if inspect.isawaitable(said):
            if inspect.iscoroutine(said):
                said.close()  # or Python says that it was never awaited
            trace.refused = TypeError(NOT_PLAIN.format(name=self.name))

    async def prepare(self, stack: AsyncExitStack) -> object:
        """A fresh state; what has to be closed afterwards is in `stack`."""
        if self.setup is None:
            return None
        state: Any = self.setup()
        if inspect.isawaitable(state):
            state = await state
        if hasattr(state, "__aenter__"):
            return await stack.enter_async_context(state)
        if hasattr(state, "__enter__"):
            return stack.enter_context(state)
        return state

    async def verify(self, state: object, trace: Trace) -> str:
        """What the user's own check has to say; "": nothing.

        A check that breaks before anything was ended would break after each end.
        """
        if self.check is None:
            return ""
        try:
            said: Any = self.check(*([state] if self.takes_state else []))
            if inspect.isawaitable(said):
                said = await said
        except AssertionError as exc:
            return str(exc) or "an assertion failed"
        except (Exception, SystemExit) as exc:
            what = f"{type(exc).__name__}: {exc}"
            if trace.cut is None and trace.refused is None:
                trace.refused = RuntimeError(BROKEN.format(what=what, name=self.name))
                trace.refused.__cause__ = exc
            return what
        if said is False:
            return "check returned False"
        return said if isinstance(said, str) else ""


def limit_(limit: float) -> float:
    """The limit, if it is one."""
    if not seconds_("limit", limit) > 0.0:
        raise ValueError(f"limit is more than 0 seconds, not {limit!r}")
    return limit


def case(
    op: Callable[..., object],
    setup: Callable[[], object] | None,
    check: Callable[..., object] | None,
    limit: float,
) -> Case:
    """A case of what the user gave."""
    callable_("sweep", op)
    if setup is not None:
        callable_("setup", setup)
    if check is not None:
        callable_("check", check)
    limit_(limit)
    names = [*inspect.signature(op).parameters.values()]
    takes_ctx = bool(names) and (
        names[0].name == "ctx" or names[0].annotation in {Context, "Context"}
    )
    rest = names[takes_ctx:]
    needed = [one for one in rest if one.default is one.empty]
    if len(needed) > 1 or (needed and setup is None):
        raise TypeError(
            f"sweep() calls the operation with a ctx, if its first parameter is called "
            f"so, and with what setup gives; {op!r} takes more: "
            f"{', '.join(one.name for one in needed)}"
        )
    module, name = getattr(op, "__module__", ""), getattr(op, "__qualname__", repr(op))
    takes_state = setup is not None and bool(rest)
    return Case(op, setup, check, limit, f"{module}:{name}", takes_ctx, takes_state)
