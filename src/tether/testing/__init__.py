"""For the tests of those who use tether."""

from ._virtual import VirtualClock as VirtualClock

__all__ = ["VirtualClock"]
