"""recording(): what was called, with which context, and how it ended."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import wraps
from typing import Any, TypeVar, cast, final

from .. import _clock
from .._context import Context
from .._roots import current

T = TypeVar("T")


@final
@dataclass(eq=False)
class Call:
    """One call of a recorded client.

    `ctx` is the context that it was given, else the current one. `left` is what was
    left of that in seconds, `inf` without a deadline. `is_over` and `error` say whether
    and how it ended, `took` the seconds until then, on the clock of tether.
    """

    name: str
    args: tuple[object, ...]
    kwargs: dict[str, object]
    ctx: Context = field(repr=False)
    left: float
    began: float = field(repr=False)
    took: float = 0.0
    is_over: bool = False
    error: BaseException | None = None

    def _end(self, error: BaseException | None) -> None:
        self.took = _clock.now() - self.began
        self.is_over = True
        self.error = error


def recording(client: T) -> tuple[T, list[Call]]:
    """The client, and a list that grows with each call of a method of it.

    For "canceled before the call does not touch the repository", and for budgets: what
    was left when the call began. The client may be a fake or a real one, or a single
    function; its other attributes are handed through. Its blocks are not: enter it
    first. A call of a coroutine function is over when it has been awaited, any other
    when it has returned. The args are without the context.

        >>> from tether import background
        >>> from tether.testing import recording
        >>> class Users:
        ...     def find(self, ctx, uid):
        ...         return {"id": uid}
        >>> users, calls = recording(Users())
        >>> with background().with_timeout(5.0) as ctx:
        ...     users.find(ctx, 7)
        {'id': 7}
        >>> calls[0].name, calls[0].args, 4.9 < calls[0].left <= 5.0, calls[0].error
        ('find', (7,), True, None)
    """
    calls: list[Call] = []
    if inspect.isroutine(client):
        return cast(T, _recorded(client.__name__, client, calls)), calls
    return cast(T, _Recorder(client, calls)), calls


class _Recorder:
    """Stands for the client, for `isinstance` too."""

    def __init__(self, client: object, calls: list[Call]) -> None:
        object.__setattr__(self, "_tether_client", client)
        object.__setattr__(self, "_tether_calls", calls)

    def __getattribute__(self, name: str) -> Any:
        client = object.__getattribute__(self, "_tether_client")
        found = getattr(client, name)
        if not inspect.isroutine(found) or name.startswith("__"):
            return found
        return _recorded(name, found, object.__getattribute__(self, "_tether_calls"))

    def __setattr__(self, name: str, value: object) -> None:
        setattr(object.__getattribute__(self, "_tether_client"), name, value)


def _recorded(
    name: str, method: Callable[..., Any], calls: list[Call]
) -> Callable[..., Any]:
    @wraps(method)
    def call(*args: object, **kwargs: object) -> object:
        one = _begin(name, args, kwargs)
        calls.append(one)
        try:
            value = method(*args, **kwargs)
        except BaseException as exc:
            one._end(exc)
            raise
        if inspect.iscoroutine(value):
            return _awaited(value, one)
        one._end(None)
        return value

    return call


async def _awaited(value: Any, one: Call) -> object:
    try:
        result: object = await value
    except BaseException as exc:
        one._end(exc)
        raise
    one._end(None)
    return result


def _begin(name: str, args: tuple[object, ...], kwargs: dict[str, object]) -> Call:
    given = kwargs.get("ctx")
    if args and isinstance(args[0], Context):
        ctx, args = args[0], args[1:]
    elif isinstance(given, Context):
        ctx = given
        kwargs = {key: value for key, value in kwargs.items() if key != "ctx"}
    else:
        ctx = current()
    return Call(name, args, kwargs, ctx, ctx.remaining(), _clock.now())
