"""Call: a piece of work on the cluster, and its result."""

from __future__ import annotations

import asyncio
from collections.abc import Generator, Iterable
from concurrent.futures import CancelledError
from concurrent.futures import Future as Arriving
from contextvars import Context as Variables
from typing import Any, Generic, TypeVar, final

from tether import Context, wait_for, wait_for_async
from tether._calls import instead_of
from tether._loops import refuse_to_block

from ._library import distributed

R_co = TypeVar("R_co", covariant=True)
R = TypeVar("R")


class Lost(ConnectionError):
    """Dask has given the task up, or its client is closed, while the context lasts.

    Somebody else has canceled its future, or the scheduler is gone.
    """


@final
class Call(Generic[R_co]):
    """A piece of work on the cluster. Keep it: Dask gives up what nobody holds.

    `future` is Dask's own, `key` the task's name on the dashboard.
    """

    __slots__ = ("__weakref__", "_ctx", "future")

    def __init__(self, ctx: Context, future: distributed.Future[R_co]) -> None:
        self._ctx = ctx
        self.future = future

    @property
    def key(self) -> str:
        """The name of the task."""
        return str(self.future.key)

    def result(self) -> R_co:
        """What the function returned, waited for in a thread; raises what it raised.

        Raises the error of the context that it was submitted with as soon as that ends,
        and does not wait for the worker; not if the function has returned before, so a
        result can be had after the block as well. `Lost` if Dask gives it up. In a
        task: `await call`.
        """
        return gather(self._lasting(), [self])[0]

    def __await__(self) -> Generator[Any, None, R_co]:
        return self._result().__await__()

    async def _result(self) -> R_co:
        return (await gather_async(self._lasting(), [self]))[0]

    def _lasting(self) -> Context:
        """The context, or after its end, for what was there before, one without end."""
        if self._ctx.done() and self.future.status == "finished":
            return self._ctx.without_cancel()
        return self._ctx

    def __repr__(self) -> str:
        return f"<Call {self.key}: {self.future.status}>"


def gather(ctx: Context, calls: Iterable[Call[R]]) -> list[R]:
    """The results of calls of one client, fetched together; in their order.

    Waits in a thread until all have ended or one has failed, whose error is raised, or
    until `ctx` ends. That leaves the calls alone, if it is another than theirs.
    """
    refuse_to_block("gather", "await call, or await gather_async(ctx, calls)")
    those = _several(calls)
    arriving = _fetch(those)
    try:
        return wait_for(ctx, arriving)
    except Lost as exc:
        _explain(exc, ctx, those)
        raise
    finally:
        _let_go(arriving, those)


async def gather_async(ctx: Context, calls: Iterable[Call[R]]) -> list[R]:
    """The same in a task, whichever loop the client has."""
    those = _several(calls)
    arriving = _fetch(those)
    try:
        return await wait_for_async(ctx, arriving)
    except Lost as exc:
        _explain(exc, ctx, those)
        raise
    finally:
        _let_go(arriving, those)


def _several(calls: Iterable[Call[R]]) -> list[Call[R]]:
    if isinstance(calls, Call):
        raise TypeError(
            "gather takes several calls; of one: call.result(), in a task: await call"
        )
    those = [*calls]
    for call in those:
        if not isinstance(call, Call):
            raise TypeError(f"gather takes calls, not {call!r}")
    return those


def _explain(exc: Lost, ctx: Context, calls: list[Call[R]]) -> None:
    """Raise the error of a context that has ended: that is why Dask gave it up."""
    instead_of(exc, ctx)
    for call in calls:
        instead_of(exc, call._ctx)


def _let_go(arriving: Arriving[list[R]], calls: list[Call[R]]) -> None:
    # The coroutine holds the futures. Those of a context that has ended are needed
    # until they are canceled, which ends it, so that Dask is told why.
    if not any(call._ctx.done() for call in calls):
        arriving.cancel()


def _fetch(calls: list[Call[R]]) -> Arriving[list[R]]:
    """The results, to be waited for in any thread or loop."""
    arriving: Arriving[list[R]]
    if not calls:
        arriving = Arriving()
        arriving.set_result([])
        return arriving
    client = calls[0].future.client
    if client.status == "closed":
        raise Lost(f"the client of {calls[0].key} is closed")
    futures = [call.future for call in calls]
    loop = client.loop.asyncio_loop
    # Without variables: a connection that is made for it would keep them, and with them
    # our context, for as long as it is open.
    return Variables().run(
        asyncio.run_coroutine_threadsafe, _gathered(client, futures), loop
    )


async def _gathered(client: distributed.Client, futures: list[Any]) -> list[Any]:
    try:
        return [*await client.gather(futures, asynchronous=True)]
    except CancelledError as exc:  # Dask's, and no asyncio.CancelledError
        raise Lost(f"Dask has given up: {exc}") from exc
