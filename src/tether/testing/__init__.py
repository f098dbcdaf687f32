"""For the tests of those who use tether."""

from ._run import Deadlock as Deadlock
from ._run import run as run
from ._virtual import VirtualClock as VirtualClock
from .leaks import Leak as Leak
from .leaks import LeakError as LeakError
from .leaks import Watch as Watch
from .leaks import verify_none as verify_none

__all__ = [
    "Deadlock",
    "Leak",
    "LeakError",
    "VirtualClock",
    "Watch",
    "run",
    "verify_none",
]
