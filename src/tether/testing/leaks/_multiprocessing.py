"""The helpers that multiprocessing starts once, and keeps until the program ends."""

from __future__ import annotations

import sys
from typing import Any


def helpers() -> tuple[set[str], set[str]]:
    """Their processes, and the descriptors by which they are held."""
    pids, numbers = set(), set()
    for module, name, pid, number in _HELPERS:
        helper: Any = getattr(sys.modules.get(f"multiprocessing.{module}"), name, None)
        pids.add(str(getattr(helper, pid, None)))
        numbers.add(str(getattr(helper, number, None)))
    return pids, numbers


_HELPERS = [
    ("resource_tracker", "_resource_tracker", "_pid", "_fd"),
    ("forkserver", "_forkserver", "_forkserver_pid", "_forkserver_alive_fd"),
]
