"""What a context has on a cluster is canceled when it ends."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from itertools import count
from threading import Lock
from uuid import uuid4
from weakref import WeakKeyDictionary, WeakValueDictionary, ref

from tether import Context, ContextError
from tether._tree import Node

from ._library import distributed
from ._worker import tell

# For one message with n keys the scheduler goes n times through all of them.
_AT_ONCE = 100
_AHEAD = 0.02  # seconds, at most, by which the workers hear of it before the scheduler
_GONE = {"closing", "closed"}  # a client that takes its work with it

_numbers = count()  # of futures, in the order in which they were submitted
_lock = Lock()
_watches: WeakKeyDictionary[distributed.Client, WeakKeyDictionary[Node, Watch]] = (
    WeakKeyDictionary()
)
_tellers: WeakKeyDictionary[distributed.Client, _Teller] = WeakKeyDictionary()


class Watch:
    """All that one context has submitted by one client, and that somebody holds.

    There is one for both, however many calls there are, so that all go together: what
    waits before what runs, else some of it would start in the places that become free.
    """

    def __init__(self, client: distributed.Client) -> None:
        self.group = uuid4().hex
        self._client = ref(client)
        self._ctx: ref[Context] | None = None
        self._futures: WeakValueDictionary[int, distributed.Future[object]]
        self._futures = WeakValueDictionary()
        self._adding = Lock()

    def add(self, ctx: Context, futures: Sequence[distributed.Future[object]]) -> None:
        """Cancel these as well when it ends."""
        with self._adding:
            self._ctx = ref(ctx)  # weak: the context holds the watch
            for future in futures:
                self._futures[next(_numbers)] = future
        if ctx.done():
            self.end()  # too late for the call that was to come

    def end(self) -> None:
        """The context is over."""
        client = self._client()
        loop = None if client is None or client.status in _GONE else client.loop
        with self._adding:
            newest_first = sorted(self._futures.items(), reverse=True)
            self._futures.clear()
        # Held from now on: who has dropped them shall not take the reason away.
        futures = [future for _, future in newest_first if not future.done()]
        if loop is not None and futures:
            loop.add_callback(self._cancel, client, futures)

    async def _cancel(
        self, client: distributed.Client, futures: list[distributed.Future[object]]
    ) -> None:
        why = self._why()
        telling = asyncio.ensure_future(_teller(client).tell(client, self.group, why))
        await asyncio.wait({telling}, timeout=_AHEAD)
        if client.status not in _GONE:
            for start in range(0, len(futures), _AT_ONCE):
                some = futures[start : start + _AT_ONCE]
                await client.cancel(some, asynchronous=True, force=True, reason=why)
        await telling

    def _why(self) -> str:
        ctx = None if self._ctx is None else self._ctx()
        error = None if ctx is None else ctx.err()
        return error.detail if isinstance(error, ContextError) else str(error)


class _Teller:
    """Tells the workers of one client's contexts: one broadcast at a time.

    What ends meanwhile goes with the next one, so that many ends are few broadcasts.
    """

    def __init__(self) -> None:
        self._reasons: dict[str, str] = {}  # by group
        self._busy = asyncio.Lock()

    async def tell(self, client: distributed.Client, group: str, why: str) -> None:
        self._reasons[group] = why
        async with self._busy:
            if group not in self._reasons:
                return  # it went with that of another one
            reasons, self._reasons = self._reasons, {}
            try:
                await client.run(tell, reasons, on_error="ignore")
            except Exception:
                pass  # the scheduler is gone, and with it its tasks


def _teller(client: distributed.Client) -> _Teller:
    """That of a client; on its loop only."""
    return _tellers.setdefault(client, _Teller())


def watch(ctx: Context, client: distributed.Client) -> Watch:
    """The watch of a context and a client; one that ends nothing, if nothing can."""
    node = ctx._tether_node()
    if node is None:
        return Watch(client)
    with _lock:
        known = _watches.setdefault(client, WeakKeyDictionary())
        found = known.get(node)
        if found is not None:
            return found
        made = known[node] = Watch(client)
    ctx.after_func(made.end)
    return made
