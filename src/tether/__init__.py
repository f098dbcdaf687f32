"""Deadlines, cancellation and request values that follow the work.

A map of the package, in the order in which to read it:

    _errors _keys _clock _checks   the words, the names of values, the time
    _live                          the weak list of scopes and groups, off until asked
    _watching                      what the metrics are told of, off until asked
    _tree _signal                  the node: how one context ends and tells the others
    _pool _timers                  the threads and the timers behind it
    _foreign _describe             user-made contexts; what a context says of itself
    _current _loops _interrupt     the context variable; interrupting tasks
    _hooks _interrupting _bind     what may hang on a context, what may carry it
    _context _scope _roots         Context, Scope: the handles; where contexts begin
    _line _semaphore _queue        waits that end with a context
    _wait_for _merge               a wait for something else; for several contexts
    _threads _awaits _where _left  threads for blocking work; what runs, and where
    _tasks                         all tasks, and which context each works for
    _to_thread signals
    _program _run                  a program: its signals, its threads, its end
    _bell _handle _piece           a piece of work: who waits for it, where it runs
    _turns _block _crew            many of them: their places, and whose they are
    _group _waitgroup              Group, WaitGroup
    _overdue                       what is over and still runs
    _behalf _route                 blocks that an integration opens for other code, and
                                   what the request of a web framework is called
    _calls wire                    what calls to other services need; what they carry
    _message                       work that comes as a message, and its context
    _stopping _postgres _sqlite    what a database runs for us, and how it is stopped
    _fetching _elsewhere           rows still to come; what another thread waits for
    ext/                           one module a library, imported by nobody here
    testing/                       for the tests of those who use tether
    debug/                         the live page: who waits for what, and who holds it
    vet/ cli/                      the linter; the command line
"""

from ._context import Context as Context
from ._errors import Canceled as Canceled
from ._errors import ClientDisconnected as ClientDisconnected
from ._errors import Closed as Closed
from ._errors import ContextError as ContextError
from ._errors import DeadlineExceeded as DeadlineExceeded
from ._group import Group as Group
from ._handle import Handle as Handle
from ._keys import Key as Key
from ._merge import merge as merge
from ._queue import Queue as Queue
from ._roots import background as background
from ._roots import current as current
from ._roots import todo as todo
from ._run import run as run
from ._scope import Scope as Scope
from ._semaphore import Semaphore as Semaphore
from ._signal import Signal as Signal
from ._to_thread import Abandoned as Abandoned
from ._to_thread import abandoned as abandoned
from ._to_thread import to_thread as to_thread
from ._wait_for import wait_for as wait_for
from ._wait_for import wait_for_async as wait_for_async
from ._waitgroup import WaitGroup as WaitGroup

__all__ = [
    "Abandoned",
    "Canceled",
    "ClientDisconnected",
    "Closed",
    "Context",
    "ContextError",
    "DeadlineExceeded",
    "Group",
    "Handle",
    "Key",
    "Queue",
    "Scope",
    "Semaphore",
    "Signal",
    "WaitGroup",
    "abandoned",
    "background",
    "current",
    "merge",
    "run",
    "to_thread",
    "todo",
    "wait_for",
    "wait_for_async",
]
