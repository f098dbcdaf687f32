"""Leak checks: what a test or a program has left behind."""

from ._leak import Leak as Leak
from ._leak import LeakError as LeakError
from ._watch import Watch as Watch
from ._watch import verify_none as verify_none
