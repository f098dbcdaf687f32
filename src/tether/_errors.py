"""The exceptions, and every message text.

    ContextError(Exception)
    ├── Canceled                          "context canceled"
    └── DeadlineExceeded(TimeoutError)    "context deadline exceeded"
    Closed(Exception)                     "the queue is closed"
    CommitUnknown(Exception)              a transaction that is perhaps committed
    ClientDisconnected(Exception)         "the client closed its connection"

`str(exc)` is Go's text, always the same, so that logs can be searched for it. What
happened to whom is `exc.detail`, which is worked out when somebody asks: most of
these exceptions are caught and never printed.
"""

from __future__ import annotations

import sys
import threading
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from ._context import Context

GO_TAKES_A_FUNCTION = (
    "go() takes the function and its arguments, as in go(fetch, 7); not {value!r}"
)
RETURNED_A_COROUTINE = (
    "{name} is not a coroutine function, so it was called in a thread, and returned a "
    "coroutine; declare it with async def"
)
NEEDS_A_LOOP = (
    "{name} is a coroutine function and no event loop runs in this thread; start it "
    "in a task, or give go() a plain function"
)
THREADS_ONLY = (
    "{name} is a coroutine function and this block is a plain with, which has "
    "threads only; use: async with"
)
NOT_A_LIMIT = "limit is a whole number, negative for no limit, not {value!r}"
# Go's words first, for whoever searches for them.
LIMIT_WHILE_ACTIVE = (
    "errgroup: modify limit while {n} goroutines in the group are still active; "
    "set the limit before the first go(), or after a wait"
)
LIMIT_IS_ZERO = "the limit is 0: nothing can start, and go() would wait for ever"
NEGATIVE_COUNTER = (
    "sync: negative WaitGroup counter; done() once for each that add() has added"
)
NOT_A_DELTA = "{name} is a whole number, not {value!r}"
GROUP_IS_OVER = "this {kind} is over ({why}); make another one"
LEFT_BLOCK = "its block was left"
WAS_DRAINED = "it was drained"
GROUP_TWICE = "a {kind} is entered once; make another one"
GROUP_OF_THE_PARENT = (
    "this {kind} was made before the fork, and its work runs in the parent process; "
    "make another one"
)
WAITS_FOR_ITSELF = (
    "{name}() was called by work of this very {kind}, which would wait for itself"
)
GROUP_IN_A_TASK = (
    "leaving the block waits for the work in it, which would block the event loop of "
    "this thread; in a task use: async with"
)
GROUP_NOT_IN_A_TASK = "async with needs a running asyncio task; in a thread use: with"
HANDLE_BY_HAND = "a handle is what go() returns"
TOO_EARLY = (
    "{name} is still {state}; its result is there when the block has been left, or "
    "after wait()"
)
CANCELED_ELSEWHERE = "the task of {name} was canceled by somebody else"
LOOP_WENT = "the event loop of {name} was closed before it had ended"
NEVER_STARTED = "{name} was given up before it could start"
FAILED_TOO = "{name} failed as well: {error}"
UNSEEN = "{name}, started at {site}{label}, failed and nobody asked for its error"
CUT_BY_THE_DRAIN = (
    "{count} still at work at the end of the drain, and canceled: {names}"
)

NIL_PARENT = "cannot create context from nil parent"
NIL_KEY = "nil key"
NOT_A_KEY = (
    "a context key is a tether.Key, not {kind}; "
    'make one per meaning: REQUEST_ID: Key[str] = Key("request-id")'
)
NOT_BY_HAND = (
    "a context is derived from another: background().with_cancel(), ctx.with_timeout(2)"
)
NOT_A_NUMBER = "{name} is a number of seconds, not {value!r}"
NAN = "{name} is not a number (NaN)"
NOT_CALLABLE = "{name} takes a function to call, not {value!r}"
NOT_A_CAUSE = "a cause is an exception or None, not {value!r}"
NOT_A_COUNT = "every is a whole number of at least 1, not {value!r}"
ENTERED_TWICE = (
    "a scope is entered once; derive another with with_cancel() ({site} made this one)"
)
LEFT_WITHOUT_ENTER = "this scope was never entered; use it as: with scope: ..."
BLOCKING_ON_LOOP = (
    "{name}() would block the event loop of this thread; in a task use: {cure}"
)
NOT_IN_A_TASK = "async with needs a running task; in a thread use: with"
SYNC_IN_A_TASK = (
    "leaving interrupting() may have to wait, which would block the event loop of "
    "this thread; in a task use: async with"
)
SIGNAL_OF_A_CONTEXT = (
    "this signal belongs to a context and follows it; cancel the scope instead"
)
NEVER_CANCELED = "the scope made at {site} was never canceled; use it in a with block"

THREAD_FOR_A_COROUTINE = (
    "{fn!r} is a coroutine function, which a thread cannot run; await it as it is"
)
BIND_A_COROUTINE = (
    "{fn!r} is a coroutine function, which runs with the variables of whoever awaits "
    "it; bind() is for plain functions"
)
NOT_TO_ANOTHER_PROCESS = (
    "a bound function carries a context, which belongs to its process; hand the other "
    "process the function itself, what is left of the time, the values that matter"
)
RESULT_DROPPED = "{name} had ended meanwhile; its result was dropped"

NOT_A_SIGNAL = "{value!r} is not a signal that a program can handle"
NOT_THE_MAIN_THREAD = (
    "signals reach the main thread only; call {name}() there, or {cure}"
)
ENTERED_SIGNALS_TWICE = (
    "with_signals() is entered once; call it again for another block"
)
RUN_ON_A_LOOP = (
    "run() starts an event loop of its own and one is running in this thread; here: "
    "with with_signals(background()) as ctx: await main(ctx)"
)
RUN_IN_RUN = (
    "run() is the outermost call of a program and one is in progress; call the "
    "function with the ctx that you have, or pass signals=()"
)
NEGATIVE_DRAIN = "drain is a number of seconds, 0 or more, not {value!r}"
LEFT_OVER = "{count} still running {seconds:.3g} s after {what}; {then}:\n  {lines}"
SECOND_SIGNAL = "tether: {name}, the second signal: leaving at once\n"

BUDGET_RAN_OUT = "the {budget:.6g} s budget set at {site} ran out"
DEADLINE_PASSED = "the deadline set at {site} had passed when it was set"
CANCELED_AT = "the context made at {site} was canceled"
BLOCK_LEFT = (
    "the with block that owned this context has ended ({site}); "
    "use the outer context after the block"
)
TOO_LITTLE_LEFT = "{wanted:.6g} s are needed and {left:.6g} s are left"
CAUSED_BY = ": {cause}"
LEFT_ABOVE = "; {left:.6g} s are left above it"
OF_ROOT = " [{label}]"
AT_ITEM = "canceled at item {index}"

NOT_A_CONTEXT = (
    "{name} takes a context, not {value!r}; "
    "hand down the one that the caller gave you, or current()"
)
NOT_A_WHOLE_NUMBER = "{name} is a whole number of at least 0, not {value!r}"
RELEASED_MORE = "semaphore: released more than held"
CANNOT_WAIT_FOR = "{name} cannot wait for {value!r}; {cure}"
WAIT_FOR_FUTURES = "give it a concurrent.futures.Future or a tether.Signal"
WAIT_FOR_AWAITABLES = "give it a future, a tether.Signal or something to await"
NOTHING_TO_HEAR = (
    "nobody is told when a threading.Event is set; "
    "use a tether.Signal, which has set() and is_set() too"
)
FUTURE_OF_A_LOOP = (
    "it belongs to an event loop; for threads there is "
    "asyncio.run_coroutine_threadsafe(), which returns a concurrent.futures.Future"
)
FUTURE_OF_ANOTHER_LOOP = (
    "it belongs to another event loop; take a concurrent.futures.Future or a "
    "tether.Signal, which loops can share"
)
COMMIT_UNKNOWN = (
    "the connection was lost while the transaction was being committed; it may have "
    "been committed or not: look before you do it again"
)
QUEUE_CLOSED = "the queue is closed"
CLIENT_LEFT = "the client closed its connection"


def report(exc: BaseException) -> None:
    """Hand on what a user's function raised where nobody could catch it."""
    try:
        threading.excepthook(
            threading.ExceptHookArgs((type(exc), exc, exc.__traceback__, None))
        )
    except BaseException as worse:
        # The hook itself fails. Whoever called has others to tell.
        sys.stderr.write(f"{worse!r} in threading.excepthook, which had: {exc!r}\n")


def append_cause(exc: BaseException, cause: BaseException | None) -> None:
    """Make `cause` the last of the causes of `exc`, unless it is among them."""
    seen = {id(exc)}
    while exc.__cause__ is not None and id(exc.__cause__) not in seen:
        exc = exc.__cause__
        seen.add(id(exc))
    if cause is not None and id(cause) not in seen:
        exc.__cause__ = cause


class ContextError(Exception):
    """A context is over: what `check()` and every wait raise when it ends.

    Catch this one to treat a cancel and a deadline alike. `exc.ctx` is the context
    that ended (None where it is not known, for example after pickling): compare it
    to tell your own budget from the caller's.
    """

    text = "context ended"
    ctx: Context | None

    def __init__(
        self, detail: str | None = None, *, ctx: Context | None = None
    ) -> None:
        super().__init__(self.text)
        self.ctx = ctx
        self._detail = detail
        self._notes: list[str] | None = None

    def __str__(self) -> str:
        return self.text

    @property
    def detail(self) -> str:
        """Whose end this is: the budget, where it was set, the cause, what is left."""
        if self._detail is None:
            ctx = self.ctx
            self._detail = self.text if ctx is None else ctx._tether_tell_end()
        return self._detail

    def add_detail(self, more: str) -> None:
        """Say more about what happened."""
        self._detail = f"{self.detail}; {more}"

    @property
    def __notes__(self) -> list[str]:
        # A traceback prints the notes of an exception; this way it shows the detail
        # of those that are printed and costs nothing for all others.
        if self._notes is None:
            self._notes = [] if self.detail == self.text else [self.detail]
        return self._notes

    @__notes__.setter
    def __notes__(self, notes: list[str]) -> None:
        # Those who pickle exceptions with all that belongs to them (tblib) put it back.
        self._notes = notes

    def __reduce__(self) -> tuple[type[Self], tuple[str]]:
        # Without its context: that belongs to this process.
        return type(self), (self.detail,)


class Canceled(ContextError):
    """Somebody canceled the context, or the block that owned it was left."""

    text = "context canceled"


class DeadlineExceeded(ContextError, TimeoutError):
    """The context's time ran out. It is a `TimeoutError`, so old handlers catch it."""

    text = "context deadline exceeded"


class Closed(Exception):
    """The `Queue` is closed: nothing can be put, or nothing is left to get."""

    def __init__(self, text: str = QUEUE_CLOSED) -> None:
        super().__init__(text)


class CommitUnknown(Exception):
    """The connection went while a transaction was being committed: it may be done.

    Not a `ContextError`, so that nobody takes it for "rolled back" and does the work a
    second time: look in the database first. The cause is the end of the context that
    cut the connection, or the driver's error.
    """

    def __init__(self, text: str = COMMIT_UNKNOWN) -> None:
        super().__init__(text)


class ClientDisconnected(Exception):
    """The client closed its connection: the `cause()` of a request that it ended.

    It is never raised: what is raised is `Canceled`, from this one.
    """

    def __init__(self, text: str = CLIENT_LEFT) -> None:
        super().__init__(text)
