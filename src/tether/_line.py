"""A line of threads and tasks that wait for permits: first come, first served.

A `Semaphore` is one line, a `Queue` is two (for items, for places), and `wait_for` uses
one for a single wait. All that can go wrong with a wait is dealt with here, once. A
thread and a task differ in what wakes them, a `Parker` or a `Waiter`.

Invariants

1.  Nobody overtakes: permits are taken at once only while nobody waits, and handed to
    the head only, until that does not fit.
2.  What looks and then stores is a function of its own, `atomic`: there is no call and
    no backward jump before its last step, so neither a signal handler nor a finalizer
    nor another thread comes in between, all of which may release and put. Without a
    global interpreter lock it takes `lock`. Nobody is woken and no code of others runs
    inside.
3.  A permit is in `free` or belongs to one entry. Who turns an entry's `state` away
    from WAITING decides: GRANTED (it has got its permits), GONE (it has given up),
    CLOSED (there will be none). GRANTED becomes USED when its owner runs again.
4.  What was granted is used or given back. A waiter that is interrupted after it was
    granted (its task canceled in the same turn, its thread by Ctrl-C, its coroutine
    collected with a loop that was closed) gives the permits to the next in line. So
    does one whose context has ended when it runs again, as in Go.
5.  A context that ends takes the entry out of the line in the very call that ends it
    (`_fire`). So a cancel that came before a release wins, and those behind go on.
6.  `lock` is that of the trees. One of its own would be taken under the other by
    finalizers that release, and the other under it by finalizers that cancel: a
    deadlock of two threads. And a fork finds every line whole.
7.  Those who waited in the parent are not there after a fork, and are passed over.

Dropped: a deque, from which who gives up in the middle is taken by a search, quadratic
for the many waiters of one incident; an `asyncio.Semaphore` a loop, which knows no
order across loops and threads.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar, final

from ._clock import Parker
from ._context import Context
from ._errors import NOT_A_CONTEXT, Canceled, Closed
from ._hooks import real_deadline
from ._loops import Waiter
from ._tree import GIL, Node, lock

P = ParamSpec("P")
R = TypeVar("R")

WAITING, GRANTED, USED, GONE, CLOSED = range(5)

_forks = 0  # between the process that imported tether and this one


def atomic(section: Callable[P, R]) -> Callable[P, R]:
    """Nothing comes between the steps of this function: see invariant 2."""
    if GIL:
        return section

    @wraps(section)
    def locked(*args: P.args, **kwargs: P.kwargs) -> R:
        with lock:
            return section(*args, **kwargs)

    return locked


def context_(name: str, ctx: Context) -> Context:
    if not isinstance(ctx, Context):
        raise TypeError(NOT_A_CONTEXT.format(name=name, value=ctx))
    return ctx


def admit(name: str, ctx: Context) -> None:
    """What every wait begins with: a context that is over never gets anything."""
    if not isinstance(ctx, Context):
        context_(name, ctx)
    end = ctx._tether_end_of()
    if end is not None:
        ctx._tether_raise(end)


@final
class Line:
    """Permits, and who waits for them. Arguments are checked by who has the line."""

    __slots__ = ("closed", "free", "waiting")

    def __init__(self, free: float) -> None:
        self.free = free  # INF: there is always one
        self.closed = False
        # The first in line is the first key; never iterated beyond it.
        self.waiting: OrderedDict[Entry, None] = OrderedDict()

    @atomic
    def take(self, weight: int = 1) -> bool:
        """Whether so many were to be had without waiting."""
        if self.waiting or weight > self.free:
            return False
        self.free -= weight
        return True

    def take_now(self, weight: int = 1) -> bool:
        """Like `take`, for those who will not get in line if there are not."""
        if _forks and self.waiting:
            self.pass_on()  # over those of the parent
        return self.take(weight)

    @atomic
    def add(self, weight: int) -> None:
        self.free += weight

    def give(self, weight: int = 1) -> None:
        """Add so many, and hand them on. From anywhere, also from a signal handler."""
        self.add(weight)
        if self.waiting:
            self.pass_on()

    def close(self) -> None:
        """Whoever waits, or begins to, gets `Closed`."""
        with lock:
            self.closed = True
        self.pass_on()

    def wait(self, ctx: Context, weight: int = 1) -> None:
        """Wait in a thread; raises `Closed`, or as `ctx.check()` does."""
        node = ctx._tether_node()
        parker = Parker()
        entry = Entry(self, weight, node, parker)
        try:
            entry.begin()
            parker.park(real_deadline(node))
            entry.conclude(ctx)
        except BaseException:
            entry.undo()
            raise

    async def wait_async(self, ctx: Context, weight: int = 1) -> None:
        """Wait in a task; raises `Closed`, or as `ctx.check()` does."""
        node = ctx._tether_node()
        waiter = Waiter(real_deadline(node))
        entry = Entry(self, weight, node, waiter)
        try:
            entry.begin()
            await waiter.wait()
            entry.conclude(ctx)
        except BaseException:
            entry.undo()
            raise

    def pass_on(self) -> None:
        """Serve the line as far as the permits go."""
        while self.waiting:
            entry = self._serve()
            if entry is None:
                return
            entry.waker.unpark()
            if entry.is_lost() and self.turn(entry, GRANTED, GONE):
                self.add(entry.weight)

    @atomic
    def _serve(self) -> Entry | None:
        """The head, out of the line, if it has what it waits for or waits no more."""
        for entry in self.waiting:
            if entry.state == WAITING and entry.forks == _forks:
                if self.closed:
                    entry.state = CLOSED
                elif entry.weight <= self.free:
                    self.free -= entry.weight
                    entry.state = GRANTED
                else:
                    return None
            self.waiting.pop(entry, None)
            return entry
        return None

    @atomic
    def join(self, entry: Entry) -> None:
        """Put it into the line, unless that is decided already."""
        if self.closed:
            entry.state = CLOSED
        elif not self.waiting and entry.weight <= self.free:
            self.free -= entry.weight  # given since the look that found nothing
            entry.state = GRANTED
        else:
            self.waiting[entry] = None

    @atomic
    def leave(self, entry: Entry) -> bool:
        """Take it out of the line; False if that is decided already."""
        if entry.state != WAITING:
            return False
        entry.state = GONE
        self.waiting.pop(entry, None)
        return True

    @atomic
    def turn(self, entry: Entry, old: int, new: int) -> bool:
        """Whether it was `old`; now it is `new`."""
        if entry.state != old:
            return False
        entry.state = new
        return True


@final
class Entry:
    """One wait of a thread or task: stands in a line, hangs on a context."""

    __slots__ = ("forks", "line", "node", "state", "waker", "weight")

    def __init__(
        self, line: Line, weight: int, node: Node | None, waker: Parker | Waiter
    ) -> None:
        self.line = line
        self.weight = weight
        self.node = node
        self.waker = waker
        self.state = WAITING
        self.forks = _forks

    def begin(self) -> None:
        """Get in line. It may be granted before this returns."""
        line, node = self.line, self.node
        if _forks and line.waiting:
            line.pass_on()  # over those of the parent
        line.join(self)
        if self.state != WAITING:
            self.waker.unpark()
        elif node is not None and not node._attach(self):
            self._fire()

    def conclude(self, ctx: Context) -> None:
        """After the wait: raises unless it was granted and the context goes on."""
        ctx.check()
        if not self.line.turn(self, GRANTED, USED):
            # GONE is a user-made context that told its end before it shows it.
            raise Closed if self.state == CLOSED else Canceled(ctx=ctx)
        if self.node is not None:
            self.node._detach(self)

    def is_lost(self) -> bool:
        """Whether it is of a task that never runs again: its loop was closed."""
        return isinstance(self.waker, Waiter) and self.waker._loop.is_closed()

    def undo(self) -> None:
        """In place of `conclude`, or after it raised: leave nothing behind."""
        if self.node is not None:
            self.node._detach(self)
        self._give_up()
        line = self.line
        if line.turn(self, GRANTED, GONE) or line.turn(self, USED, GONE):
            line.give(self.weight)

    def _fire(self) -> None:
        """The context has ended. From any thread."""
        self._give_up()
        self.waker.unpark()

    def _give_up(self) -> None:
        line = self.line
        # As Go has it: a weight of 0 behind it is not served while nothing is free.
        if line.leave(self) and line.free > 0:
            line.pass_on()


def _forked() -> None:
    global _forks
    _forks += 1


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)
