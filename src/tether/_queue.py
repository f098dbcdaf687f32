"""Queue: from threads to tasks and back, every wait of which ends with its context.

Two lines: who wants an item takes a permit of `_items`, who puts one a permit of
`_places`. A permit is a promise, kept when its owner runs again: an item stays where it
is, at the head, until somebody really takes it away. So a getter that is canceled after
it was woken has nothing to put back, and no item is lost, doubled or overtaken.
"""

from __future__ import annotations

from collections import deque
from queue import Empty, Full
from typing import Generic, Self, TypeVar, final

from . import _loops
from ._checks import whole_
from ._clock import INF
from ._context import Context
from ._errors import Closed
from ._line import Line, admit, atomic, context_
from ._tree import lock

T = TypeVar("T")


class Queue(Generic[T]):
    """First in, first out, between any threads and the tasks of any loops.

    `maxsize` 0 is no limit, as in `queue` and `asyncio`. Who waits is served first
    come, first served. Producers say that nothing more will come with `close()`, which
    ends the loops of the consumers:

        >>> from tether import Queue, background
        >>> jobs: Queue[str] = Queue(maxsize=100)
        >>> with background().with_timeout(1.0) as ctx:
        ...     jobs.put(ctx, "a")
        ...     jobs.put(ctx, "b")
        ...     jobs.close()
        ...     list(jobs.each(ctx))
        ['a', 'b']
    """

    __slots__ = ("__weakref__", "_closed", "_items", "_maxsize", "_places", "_queue")

    def __init__(self, maxsize: int = 0) -> None:
        self._maxsize = whole_("maxsize", maxsize)
        self._queue: deque[T] = deque()
        self._items = Line(0)
        self._places = Line(self._maxsize or INF)
        self._closed = False

    # -- putting ---------------------------------------------------------------

    def put(self, ctx: Context, item: T) -> None:
        """Block this thread until there is a place, and add `item`.

        Raises `ctx`'s error if that ends first, or is over, and `Closed` if the queue
        is: then `item` is not in it. In a task: `await put_async(...)`.
        """
        if _loops.running_loop() is not None:
            _loops.refuse_to_block("put", "await queue.put_async(ctx, item)")
        admit("put", ctx)
        if not self._places.take():
            self._places.wait(ctx)
        self._add(item)

    async def put_async(self, ctx: Context, item: T) -> None:
        """Wait in a task until there is a place, and add `item`; raises as `put`."""
        admit("put_async", ctx)
        if not self._places.take():
            await self._places.wait_async(ctx)
        self._add(item)

    def put_nowait(self, item: T) -> None:
        """Add `item`; `queue.Full` if there is no place, or others wait for one.

        May be called from a signal handler or a finalizer.
        """
        if not self._places.take_now():
            raise Closed if self._closed else Full
        self._add(item)

    def _add(self, item: T) -> None:
        if not self._append(item):
            self._places.give()
            raise Closed
        if self._items.waiting:
            self._items.pass_on()

    @atomic
    def _append(self, item: T) -> bool:
        if self._closed:
            return False
        self._items.free += 1
        self._queue.append(item)
        return True

    # -- getting ---------------------------------------------------------------

    def get(self, ctx: Context) -> T:
        """Block this thread until there is an item, and take it.

        Raises `ctx`'s error if that ends first, or is over, and `Closed` when the queue
        is closed and nothing is left in it. In a task: `await get_async(ctx)`.
        """
        if _loops.running_loop() is not None:
            _loops.refuse_to_block("get", "await queue.get_async(ctx)")
        admit("get", ctx)
        if not self._items.take():
            self._items.wait(ctx)
        return self._remove()

    async def get_async(self, ctx: Context) -> T:
        """Wait in a task until there is an item, and take it; raises as `get`."""
        admit("get_async", ctx)
        if not self._items.take():
            await self._items.wait_async(ctx)
        return self._remove()

    def get_nowait(self) -> T:
        """Take an item; `queue.Empty` if there is none, or others wait for one."""
        if not self._items.take_now():
            raise Closed if self._items.closed else Empty
        return self._remove()

    def _remove(self) -> T:
        item = self._queue.popleft()  # never empty: there is one for each permit
        self._places.give()
        if self._closed:
            self._end()
        return item

    def each(self, ctx: Context) -> Each[T]:
        """The items as they come, until the queue is closed and empty.

        `for` in a thread, `async for` in a task. Raises as `get` when `ctx` ends. Any
        number of loops may share a queue; each item goes to one of them.
        """
        return Each(self, context_("each", ctx))

    # -- the rest --------------------------------------------------------------

    def close(self) -> None:
        """Say that nothing more will be put. Again: nothing.

        What is in the queue can still be taken; who waits to put gets `Closed`.
        """
        with lock:
            self._closed = True
        self._places.close()
        self._end()

    def _end(self) -> None:
        # A getter that was promised an item may still give it back, to one that waits.
        if not self._queue:
            self._items.close()

    @property
    def maxsize(self) -> int:
        """How many items it holds at most; 0: any number."""
        return self._maxsize

    def closed(self) -> bool:
        """Whether `close()` has been called."""
        return self._closed

    def qsize(self) -> int:
        """How many items are in it, also those that a getter is being woken for."""
        return len(self._queue)

    def __repr__(self) -> str:
        of = f" of {self._maxsize}" if self._maxsize else ""
        closed = ", closed" if self._closed else ""
        waiting = f"{len(self._items.waiting)} get, {len(self._places.waiting)} put"
        return f"<Queue {len(self._queue)}{of}, {waiting}{closed}>"


@final
class Each(Generic[T]):
    """What `Queue.each` returns."""

    __slots__ = ("_ctx", "_queue")

    def __init__(self, queue: Queue[T], ctx: Context) -> None:
        self._queue = queue
        self._ctx = ctx

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> T:
        try:
            return self._queue.get(self._ctx)
        except Closed:
            raise StopIteration from None

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> T:
        try:
            return await self._queue.get_async(self._ctx)
        except Closed:
            raise StopAsyncIteration from None
