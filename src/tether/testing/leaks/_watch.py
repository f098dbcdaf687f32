"""Watch: what was left behind between two moments.

Begun, it notes what is there; asked, it tells what is there beyond that, and what was
heard meanwhile. Several may be open, in one process and in one loop: what can be seen
to be another's is another's, what nobody's name is on belongs to the innermost.
"""

from __future__ import annotations

import asyncio
import time
import warnings
from collections.abc import Callable, Coroutine, Hashable, Iterable
from contextlib import AbstractContextManager
from contextvars import Token
from dataclasses import replace
from functools import wraps
from types import TracebackType
from typing import Any, ParamSpec, Self, TypeVar, final

from ... import _loops
from ..._checks import seconds_
from . import _sites, _uvloop
from ._closing import Closing
from ._contexts import Contexts
from ._descriptors import Descriptors
from ._found import Family, Found
from ._heard import Hearing
from ._ignore import Ignore
from ._installed import Installed
from ._leak import Leak, LeakError
from ._owner import owner
from ._patience import PATIENCE, pauses
from ._pending import Pending
from ._processes import Processes
from ._signals import Signals
from ._tasks import Tasks
from ._threads import Threads

P = ParamSpec("P")
T = TypeVar("T")

_open: list[Watch] = []
_tasks = Tasks()
_threads = Threads(_tasks)
_contexts = Contexts()
_signals = Signals()
_families: list[Family] = [
    *(_tasks, Pending(_tasks), _threads),
    *(_contexts, Descriptors(), Processes(), _signals),
]


def _report(whose: object, leak: Leak, key: Hashable = None) -> None:
    """Give a leak that was told, not found, to the watch that it belongs to.

    That of a watch which is over has been told by that, and so has what was there
    before: if it can be found as well, that is its `key`.
    """
    for watch in reversed(_open):
        if whose is None or whose is watch._name:
            if key is None or key not in watch._before:
                watch._heard.append(leak)
            return


hearing = Hearing(_tasks.maker_of, _report)
_closing = Closing(_tasks, _report)
installed = Installed([_uvloop, _sites, _tasks, _threads, _contexts, hearing, _closing])


@final
class Watch:
    """Tells what is left behind of what was made while it is open.

    `with` in plain code and around an event loop, `async with` in a task. Leaving the
    block raises `LeakError` if something is left, unless an exception is on its way.

        >>> import threading
        >>> from tether.testing import LeakError, Watch
        >>> try:
        ...     with Watch(patience=0.01):
        ...         stop = threading.Event()
        ...         threading.Thread(target=stop.wait, name="waiter").start()
        ... except LeakError as exc:
        ...     print(exc.leaks[0].kind, exc.leaks[0].what)
        thread waiter: Event.wait()
        >>> stop.set()

    What is about to end is no leak: it looks again and again for up to `patience` real
    seconds, and what is there when it begins does not count. `ignore` names functions
    and kinds that may stay; the block warns of one that has fitted nothing. Raises
    RuntimeError where plain `with` would hold up the event loop.
    """

    def __init__(
        self, *, patience: float = PATIENCE, ignore: Iterable[str] = ()
    ) -> None:
        self._patience = seconds_("patience", patience)
        self._ignore = Ignore(ignore)
        self._name: object = object()
        self._before: set[Hashable] = set()
        self._heard: list[Leak] = []
        self._token: Token[object] | None = None
        self._begun = False

    # -- beginning and ending ----------------------------------------------------

    def begin(self) -> None:
        """Note what is there; from now on what is made counts. Once."""
        if self._begun:
            raise RuntimeError("a Watch is used once: make another one")
        self._begun = True
        installed.keep()
        if not _open:
            _tasks.adopt_all()
            _signals.note()
        _open.append(self)
        self._token = owner.set(self._name)
        self.excuse()

    def excuse(self) -> None:
        """What is there now does not count."""
        self._before |= self.keys()

    def excuse_also(self, keys: Iterable[Hashable]) -> None:
        """These do not count: they are somebody else's, who has made them meanwhile."""
        self._before.update(keys)

    def keys(self) -> set[Hashable]:
        """All that is there now."""
        return set[Hashable]().union(*[family.now() for family in _families])

    def still_there(self, keys: set[Hashable], whose: str) -> list[Leak]:
        """Those of somebody else's that have not gone, now that they should have."""
        for pause in pauses(self._patience):
            if keys.isdisjoint(self.keys()):
                return []
            _pass(pause)
        leaks = [
            found.tell()
            for family in _families
            for key, found in family.now().items()
            if key in keys
        ]
        return self._ignore.without(
            replace(leak, details=(f"of the {whose}", *leak.details)) for leak in leaks
        )

    def unused(self) -> set[str]:
        """The patterns to ignore that have fitted nothing so far."""
        return self._ignore.unused

    def hearing(self) -> AbstractContextManager[None]:
        """A block in which warnings about resources are heard: see `Hearing`."""
        return hearing.resource_warnings()

    def owning(
        self, function: Callable[P, Coroutine[Any, Any, T]]
    ) -> Callable[P, Coroutine[Any, Any, T]]:
        """The same function; what it makes is this watch's, in whichever loop."""

        @wraps(function)
        async def owned(*args: P.args, **kwargs: P.kwargs) -> T:
            token = owner.set(self._name)
            try:
                return await function(*args, **kwargs)
            finally:
                owner.reset(token)

        return owned

    def end(self) -> None:
        """Stop watching."""
        if self not in _open:
            raise RuntimeError("this Watch is not open: begin() it, then end() it once")
        if self._token is not None:
            try:
                owner.reset(self._token)
            except ValueError:
                pass  # ended in another task than it was begun in
            self._token = None
        _open.remove(self)
        if not _open:
            _tasks.forget_makers()
            _sites.forget()
        installed.release()

    # -- looking -------------------------------------------------------------------

    def left(self) -> list[Leak]:
        """What is left of what was made since `begin`, after some patience.

        Loops that only stand meanwhile are run for the time: what is left may be about
        to end there, as the server's half of a connection. RuntimeError in a task.
        """
        _no_loop("Watch.left()", "await left_async()")
        for pause in pauses(self._patience):
            if not self._there():
                return self._ignore.without(self._heard)
            _pass(pause)
        return self._told()

    async def left_async(self) -> list[Leak]:
        """The same in a task; the task itself does not count."""
        self._before.update(self._keys_of(asyncio.current_task()))
        for pause in pauses(self._patience):
            if not self._there():
                return self._ignore.without(self._heard)
            await asyncio.sleep(pause)
        return self._told()

    def _there(self) -> bool:
        return any(self._mine(family) for family in _families)

    def _mine(self, family: Family) -> list[Found]:
        """Those that count, and are this watch's or nobody's."""
        now = family.now()
        if now.keys() <= self._before:  # as it is nearly always
            return []
        return [
            found
            for key, found in now.items()
            if key not in self._before and found.owner in (None, self._name)
        ]

    def _told(self) -> list[Leak]:
        mine = [found for family in _families for found in self._mine(family)]
        leaks = [found.tell() for found in mine]
        return self._ignore.without([*self._heard, *leaks])

    def _keys_of(self, task: asyncio.Task[object] | None) -> list[Hashable]:
        return [key for key in _tasks.now() if callable(key) and key() is task]

    # -- the block -----------------------------------------------------------------

    def __enter__(self) -> Self:
        _no_loop("with Watch()", "use async with")
        return self._enter()

    def _enter(self) -> Self:
        self.begin()
        self._warnings = hearing.resource_warnings()
        self._warnings.__enter__()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        try:
            leaks = self.left() if exc is None else []
        finally:
            self._close()
        if leaks:
            raise LeakError(leaks)
        if exc is None and self.unused():
            warnings.warn(unused(self.unused()), stacklevel=2)

    async def __aenter__(self) -> Self:
        return self._enter()

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        try:
            leaks = await self.left_async() if exc is None else []
        finally:
            self._close()
        if leaks:
            raise LeakError(leaks)
        if exc is None and self.unused():
            warnings.warn(unused(self.unused()), stacklevel=2)

    def _close(self) -> None:
        self.end()
        self._warnings.__exit__(None, None, None)


def _no_loop(what: str, cure: str) -> None:
    if _loops.running_loop() is not None:
        raise RuntimeError(
            f"{what} would hold up the event loop, in which what is left may be about "
            f"to end: {cure}"
        )


def unused(patterns: Iterable[str]) -> str:
    """What is said of patterns that fit nothing."""
    return f"ignore={sorted(patterns)} fits nothing: take it out"


def _pass(seconds: float) -> None:
    """Let the time pass, and what stands in event loops go on."""
    loops: list[asyncio.AbstractEventLoop] = []
    if _loops.running_loop() is None:
        loops = [one for one in _tasks.open_loops() if not one.is_running()]
    for loop in loops:
        loop.run_until_complete(asyncio.sleep(seconds / len(loops)))
    if not loops:
        time.sleep(seconds)


def verify_none(*, patience: float = PATIENCE, ignore: Iterable[str] = ()) -> None:
    """Raise `LeakError` if anything of ours is there: goleak's VerifyNone.

    For the end of a program or of a test, where nothing should be left: threads besides
    the main one, child processes, threads that `to_thread` has left behind. For the
    rest, what is there now cannot be told apart from what may be: use a `Watch`.
    """
    kinds = [
        one for one in _families if isinstance(one, Threads | Processes | Contexts)
    ]
    leaks: list[Leak] = []
    for pause in pauses(seconds_("patience", patience)):
        leaks = [found.tell() for one in kinds for found in one.now().values()]
        leaks = Ignore(ignore).without(leaks)
        if not leaks:
            return
        time.sleep(pause)
    raise LeakError(leaks)
