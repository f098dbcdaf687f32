"""Between a coroutine and its task: every wait is seen before the loop sees it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from types import coroutine
from typing import Any

from ... import _awaits

Seen = Callable[[object, object], None]

# What is told of the waits of this operation; its child tasks inherit it.
seen_by: ContextVar[Seen | None] = ContextVar("tether.testing.sweep", default=None)


@coroutine
def _between(coro: Any, seen: Seen) -> Generator[Any, Any, Any]:
    value: object = None
    error: BaseException | None = None
    while True:
        try:
            got = coro.send(value) if error is None else coro.throw(error)
        except StopIteration as stop:
            return stop.value
        finally:
            error = None
        seen(coro, got)
        value = None
        try:
            value = yield got
        except BaseException as exc:
            error = exc


# To those who follow a chain of awaits it is as if it were not there.
_awaits.transparent[_between.__code__] = "coro"


async def drive(coro: Any, seen: Seen) -> Any:
    """What the coroutine returns; `seen(coro, what it waits for)` before each wait.

    A native coroutine, which is all that tasks take from Python 3.12 on.
    """
    return await _between(coro, seen)


@contextmanager
def driving_children(loop: asyncio.AbstractEventLoop) -> Iterator[None]:
    """Inside, the tasks that the operation starts are driven as well."""
    before = loop.get_task_factory()

    def create(loop: Any, coro: Any, **kwargs: Any) -> asyncio.Future[Any]:
        if before is not None:
            return before(loop, coro, **kwargs)
        return asyncio.Task(coro, loop=loop, **kwargs)

    def factory(
        loop: asyncio.AbstractEventLoop, coro: Any, **kwargs: Any
    ) -> asyncio.Future[Any]:
        seen = seen_by.get()
        if seen is not None and asyncio.iscoroutine(coro):
            driven: Any = drive(coro, seen)
            for name in ("__name__", "__qualname__"):  # it stands for it in reports
                # The aclose() of a dropped generator has no name.
                setattr(driven, name, getattr(coro, name, type(coro).__name__))
            task = create(loop, driven, **kwargs)
            # Canceled before its first step, it has not even begun to await `coro`.
            task.add_done_callback(lambda _: coro.close())
            return task
        return create(loop, coro, **kwargs)

    loop.set_task_factory(factory)
    try:
        yield
    finally:
        loop.set_task_factory(before)
