"""The helpers that multiprocessing starts once, and keeps until the program ends."""

from __future__ import annotations

import sys


def helpers() -> tuple[frozenset[str], frozenset[int]]:
    """Their processes, and the descriptors by which they are held."""
    loaded = [
        (getattr(sys.modules[module], name, None), pid, number)
        for module, name, pid, number in _HELPERS
        if module in sys.modules
    ]
    if not loaded:
        return _NONE
    pids = frozenset(str(getattr(one, pid, None)) for one, pid, _ in loaded)
    numbers = {getattr(one, number, None) for one, _, number in loaded}
    return pids, frozenset(one for one in numbers if isinstance(one, int))


_NONE: tuple[frozenset[str], frozenset[int]] = frozenset(), frozenset()
_TRACKER, _SERVER = "multiprocessing.resource_tracker", "multiprocessing.forkserver"
_HELPERS = [
    (_TRACKER, "_resource_tracker", "_pid", "_fd"),
    (_SERVER, "_forkserver", "_forkserver_pid", "_forkserver_alive_fd"),
]
