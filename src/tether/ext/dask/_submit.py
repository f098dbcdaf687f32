"""submit, map: functions called on the workers, with a context first."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable
from contextvars import copy_context
from inspect import iscoroutinefunction, signature
from typing import Any, TypeVar, overload
from uuid import uuid4

from tether import Context
from tether._checks import callable_
from tether._current import var as _current
from tether._errors import NOT_A_CONTEXT
from tether._message import written
from tether._where import name_of

from . import _worker
from ._call import Call
from ._library import distributed
from ._watch import watch

R = TypeVar("R")
T = TypeVar("T")

_OPTIONS = {*signature(distributed.Client.map).parameters} - {
    *("self", "func", "iterables", "key", "kwargs")
}


@overload
def submit(
    ctx: Context,
    client: distributed.Client,
    fn: Callable[..., Coroutine[Any, Any, R]],
    *args: object,
    **options: object,
) -> Call[R]: ...
@overload
def submit(
    ctx: Context,
    client: distributed.Client,
    fn: Callable[..., R],
    *args: object,
    **options: object,
) -> Call[R]: ...
def submit(
    ctx: Context,
    client: distributed.Client,
    fn: Callable[..., object],
    *args: object,
    **options: object,
) -> Call[Any]:
    """A call of `fn(ctx, *args)` on a worker, which ends when `ctx` ends.

        with background().with_timeout(60.0) as ctx:
            rows = submit(ctx, client, reindex, "a.txt").result()

    An argument may be another call, a future of Dask's, or a list, tuple, set or dict
    of them: `fn` gets their results. A coroutine function runs on the worker's event
    loop. `options` are those of `Client.map`: workers, resources, priority, retries.

    Raises the error of `ctx` if it is over already; nothing is sent then.
    """
    return _submit("submit", ctx, client, fn, [args], options)[0]


@overload
def map(  # noqa: A001
    ctx: Context,
    client: distributed.Client,
    fn: Callable[[Context, T], Coroutine[Any, Any, R]],
    items: Iterable[T],
    **options: object,
) -> list[Call[R]]: ...
@overload
def map(  # noqa: A001
    ctx: Context,
    client: distributed.Client,
    fn: Callable[[Context, T], R],
    items: Iterable[T],
    **options: object,
) -> list[Call[R]]: ...
def map(  # noqa: A001
    ctx: Context,
    client: distributed.Client,
    fn: Callable[..., object],
    items: Iterable[object],
    **options: object,
) -> list[Call[Any]]:
    """A call of `fn(ctx, item)` for each item, sent together.

    The rest is as for `submit`.
    """
    return _submit("map", ctx, client, fn, [(item,) for item in items], options)


def _submit(
    name: str,
    ctx: Context,
    client: distributed.Client,
    fn: Callable[..., object],
    arguments: list[tuple[object, ...]],
    options: dict[str, Any],
) -> list[Call[Any]]:
    if not isinstance(ctx, Context):
        raise TypeError(NOT_A_CONTEXT.format(name=name, value=ctx))
    if not isinstance(client, distributed.Client):
        raise TypeError(f"{name} takes a distributed.Client second, not {client!r}")
    callable_(name, fn)
    for option in options:
        if option not in _OPTIONS:
            raise TypeError(
                f"{name} has no option {option!r}: they are those of Client.map; for a "
                f"keyword argument of {name_of(fn)} take a functools.partial"
            )
    ctx.check()
    watched = watch(ctx, client)
    name = name_of(fn)
    sent = _worker.Sent(
        prefix=f"{name.removesuffix('()')}-{uuid4().hex}",
        group=watched.group,
        label=name,
        headers=written(ctx),
    )

    def sending() -> list[distributed.Future[Any]]:
        # Without our context among the variables: the client's loop would keep it, with
        # a connection that is made for this. Dask has variables of its own there.
        _current.set(None)
        return client.map(
            _worker.run_async if iscoroutinefunction(fn) else _worker.run,
            # The key itself must not be among the arguments: older versions of Dask
            # take whatever equals a key for the task's result.
            range(len(arguments)),
            [tuple(_known(arg) for arg in args) for args in arguments],
            key=[f"{sent.prefix}-{n}" for n in range(len(arguments))],
            sent=sent,
            fn=fn,
            # Else Dask takes a hash of the arguments, for keys that it has, and fails
            # with those that have none.
            **{"pure": False, **options},
        )

    futures = copy_context().run(sending)
    watched.add(ctx, futures)
    return [Call(ctx, future) for future in futures]


def _known(arg: object) -> object:
    """What Dask knows: for a call, its future; also where Dask looks for those."""
    if isinstance(arg, Call):
        return arg.future
    if type(arg) is dict:
        return {key: _known(value) for key, value in arg.items()}
    if type(arg) is list or type(arg) is tuple or type(arg) is set:
        return type(arg)(_known(one) for one in arg)
    return arg
