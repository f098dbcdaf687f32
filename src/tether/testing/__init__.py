"""For the tests of those who use tether."""

from ._run import Deadlock as Deadlock
from ._run import run as run
from ._virtual import VirtualClock as VirtualClock

__all__ = ["Deadlock", "VirtualClock", "run"]
