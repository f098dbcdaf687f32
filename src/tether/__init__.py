"""Deadlines, cancellation and request values that follow the work.

A map of the package, in the order in which to read it:

    _errors _keys _clock _checks   the words, the names of values, the time
    _tree                          the node: how one context ends and tells the others
    _pool _timers                  the threads and the timers behind it
    _foreign _describe             user-made contexts; what a context says of itself
    _current _loops _interrupt     the context variable; interrupting tasks
    _hooks _interrupting           what may hang on a context
    _context _scope                Context, Scope: the handles
    ext/                           one module a library, imported by nobody here
    testing/                       for the tests of those who use tether
    vet/ cli/                      the linter; the command line
"""

from ._context import Context as Context
from ._errors import Canceled as Canceled
from ._errors import ContextError as ContextError
from ._errors import DeadlineExceeded as DeadlineExceeded
from ._keys import Key as Key
from ._scope import Scope as Scope
from ._scope import background as background
from ._scope import current as current
from ._scope import todo as todo
from ._tree import Signal as Signal

__all__ = [
    "Canceled",
    "Context",
    "ContextError",
    "DeadlineExceeded",
    "Key",
    "Scope",
    "Signal",
    "background",
    "current",
    "todo",
]
