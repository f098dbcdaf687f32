"""Deadlines, cancellation and request values that follow the work.

A map of the package, in the order in which to read it:

    _errors _keys _clock _checks   the words, the names of values, the time
    _tree                          the node: how one context ends and tells the others
    _pool _timers                  the threads and the timers behind it
    _foreign _describe             user-made contexts; what a context says of itself
    _current _loops _interrupt     the context variable; interrupting tasks
    _hooks _interrupting           what may hang on a context
    _context _scope                Context, Scope: the handles
    _bell _handle _piece           a piece of work: who waits for it, where it runs
    _turns _block _crew            many of them: their places, and whose they are
    _group _waitgroup              Group, WaitGroup
    ext/                           one module a library, imported by nobody here
    testing/                       for the tests of those who use tether
"""

from ._context import Context as Context
from ._errors import Canceled as Canceled
from ._errors import ContextError as ContextError
from ._errors import DeadlineExceeded as DeadlineExceeded
from ._group import Group as Group
from ._handle import Handle as Handle
from ._keys import Key as Key
from ._scope import Scope as Scope
from ._scope import background as background
from ._scope import current as current
from ._scope import todo as todo
from ._tree import Signal as Signal
from ._waitgroup import WaitGroup as WaitGroup

__all__ = [
    "Canceled",
    "Context",
    "ContextError",
    "DeadlineExceeded",
    "Group",
    "Handle",
    "Key",
    "Scope",
    "Signal",
    "WaitGroup",
    "background",
    "current",
    "todo",
]
