"""For the tests of those who use tether."""

from ._run import Deadlock as Deadlock
from ._run import run as run
from ._virtual import VirtualClock as VirtualClock
from .leaks import Leak as Leak
from .leaks import LeakError as LeakError
from .leaks import Watch as Watch
from .leaks import verify_none as verify_none
from .sweeping import Finding as Finding
from .sweeping import Report as Report
from .sweeping import SweepError as SweepError
from .sweeping import Verdict as Verdict
from .sweeping import sweep as sweep

__all__ = [
    "Deadlock",
    "Finding",
    "Leak",
    "LeakError",
    "Report",
    "SweepError",
    "Verdict",
    "VirtualClock",
    "Watch",
    "run",
    "sweep",
    "verify_none",
]
