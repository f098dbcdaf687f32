"""Something that a thread waits for and nothing can wake: another thread waits for it.

For what an integration gets from a library by a call that cannot be ended: a connection
that is being made, one of a pool.
"""

from __future__ import annotations

from _thread import allocate_lock
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

from . import _pool
from ._context import Context
from ._wait_for import wait_for

T = TypeVar("T")


def fetched(
    ctx: Context, fetch: Callable[[], T], give_back: Callable[[T], object]
) -> T:
    """What `fetch` returns, called in a thread of tether's; raises if `ctx` ends first.

    What comes after that is given back.
    """
    answer: Future[T] = Future()
    decided = allocate_lock()  # taken by whichever comes first, it or our leave

    def work() -> None:
        try:
            came = fetch()
        except BaseException as exc:
            answer.set_exception(exc)
            return
        if decided.acquire(blocking=False):
            answer.set_result(came)
        else:
            give_back(came)

    ctx.check()
    _pool.submit((work,))
    try:
        return wait_for(ctx, answer)
    except BaseException:
        if not decided.acquire(blocking=False):
            # It came at the same moment, or is about to.
            answer.add_done_callback(lambda came: give_back(came.result()))
        raise
