"""ctx.bind(fn): a function that carries its context wherever it is called."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import copy_context
from functools import update_wrapper
from inspect import iscoroutinefunction
from typing import TYPE_CHECKING, Generic, NoReturn, ParamSpec, TypeVar, final

from . import _current
from ._checks import callable_
from ._errors import BIND_A_COROUTINE, NOT_TO_ANOTHER_PROCESS

if TYPE_CHECKING:
    from ._context import Context

P = ParamSpec("P")
T = TypeVar("T")


@final
class Bound(Generic[P, T]):
    """Calls a function with the variables that were set when it was bound.

    Each call has a copy of its own: one set of variables cannot be in use twice at a
    time, and what a call sets is not seen by the next.
    """

    def __init__(self, ctx: Context, fn: Callable[P, T]) -> None:
        callable_("bind", fn)
        if iscoroutinefunction(fn):
            raise TypeError(BIND_A_COROUTINE.format(fn=fn))
        self._fn = fn
        self._variables = copy_context()
        self._variables.run(_current.var.set, ctx)
        update_wrapper(self, fn)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> T:
        return self._variables.copy().run(self._fn, *args, **kwargs)

    def __repr__(self) -> str:
        return f"<{self._fn!r} bound to {self._variables[_current.var]!r}>"

    def __reduce__(self) -> NoReturn:
        raise TypeError(NOT_TO_ANOTHER_PROCESS)
