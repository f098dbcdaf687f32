"""The event loops under test, and how a test runs something on one of them."""

from __future__ import annotations

import asyncio
import gc
import sys
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, TypeVar, TypeVarTuple

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

KINDS = ["asyncio", "uvloop", "eager"]
if sys.platform == "win32":  # uvloop does not exist there
    KINDS.remove("uvloop")
if sys.version_info < (3, 12):
    KINDS.remove("eager")


@dataclass(frozen=True)
class Run:
    """Runs a coroutine function to its end on a fresh loop, and looks what is left."""

    kind: str

    def __call__(self, fn: Callable[[*Ts], Coroutine[Any, Any, T]], /, *args: *Ts) -> T:
        complaints: list[dict[str, Any]] = []
        with asyncio.Runner(loop_factory=self.new_loop) as runner:
            loop = runner.get_loop()
            loop.set_exception_handler(lambda _, context: complaints.append(context))
            result = runner.run(fn(*args))
            left = asyncio.all_tasks(loop)
            assert not left, f"still running on the loop: {left}"
            # A task that nobody asked reports its error when it is collected.
            gc.collect(1)
        for context in complaints:
            error = context.get("exception")
            message = f"the loop's exception handler was called: {context}"
            raise AssertionError(message) from error
        return result

    def new_loop(self) -> asyncio.AbstractEventLoop:
        """A loop of this kind."""
        if self.kind == "uvloop":
            import uvloop

            return uvloop.new_event_loop()
        loop = asyncio.new_event_loop()
        if sys.version_info >= (3, 12) and self.kind == "eager":
            loop.set_task_factory(asyncio.eager_task_factory)
        return loop
