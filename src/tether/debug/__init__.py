"""The live page: what a process that is too sick to answer waits for, and who holds it.

    serve       the page, from threads of its own; on_signal: the same to stderr

A map, in the order in which to read it:

    _chain _roots             the awaits of a task; the context it works for
    _loops                    the event loops, whether they still turn
    _model                    what a look finds
    _waits _holders _groups   what tasks wait for, who holds it; grouping
    _labels                   many labels of one place, told as one
    _contexts                 the open contexts as a tree
    _watch                    one look, compared with an earlier one
    _text _pprof page.html    its faces
    _access _sockets          who may look, and where it is found
    _http _server _signal     requests, the page; SIGUSR2
"""

from ._model import Branch as Branch
from ._model import Group as Group
from ._model import Holder as Holder
from ._model import Line as Line
from ._model import Look as Look
from ._model import Overdue as Overdue
from ._model import Resource as Resource
from ._server import Server as Server
from ._server import serve as serve
from ._signal import on_signal as on_signal

__all__ = [
    "Branch",
    "Group",
    "Holder",
    "Line",
    "Look",
    "Overdue",
    "Resource",
    "Server",
    "on_signal",
    "serve",
]
