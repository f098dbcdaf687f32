"""For the tests of those who use tether.

The names are loaded when they are used: where tether is installed, pytest loads the
plugin in this package in every run, also for tests that do not want it.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ._contexts import done_context as done_context
    from ._contexts import expiring_after as expiring_after
    from ._pace import Deadlock as Deadlock
    from ._pace import Spinning as Spinning
    from ._proxy import Proxies as Proxies
    from ._proxy import Proxy as Proxy
    from ._recording import Call as Call
    from ._recording import recording as recording
    from ._run import run as run
    from ._virtual import VirtualClock as VirtualClock
    from .bubbling import Bubble as Bubble
    from .bubbling import Unfinished as Unfinished
    from .bubbling import bubble as bubble
    from .bubbling import wait as wait
    from .bubbling import wait_async as wait_async
    from .leaks import Leak as Leak
    from .leaks import LeakError as LeakError
    from .leaks import Watch as Watch
    from .leaks import verify_none as verify_none
    from .sweeping import Finding as Finding
    from .sweeping import Report as Report
    from .sweeping import SweepError as SweepError
    from .sweeping import Verdict as Verdict
    from .sweeping import sweep as sweep

_HOMES = {
    "Bubble": ".bubbling",
    "Call": "._recording",
    "Deadlock": "._pace",
    "Finding": ".sweeping",
    "Leak": ".leaks",
    "LeakError": ".leaks",
    "Proxies": "._proxy",
    "Proxy": "._proxy",
    "Report": ".sweeping",
    "Spinning": "._pace",
    "SweepError": ".sweeping",
    "Unfinished": ".bubbling",
    "Verdict": ".sweeping",
    "VirtualClock": "._virtual",
    "Watch": ".leaks",
    "bubble": ".bubbling",
    "done_context": "._contexts",
    "expiring_after": "._contexts",
    "recording": "._recording",
    "run": "._run",
    "sweep": ".sweeping",
    "verify_none": ".leaks",
    "wait": ".bubbling",
    "wait_async": ".bubbling",
}

__all__ = [
    "Bubble",
    "Call",
    "Deadlock",
    "Finding",
    "Leak",
    "LeakError",
    "Proxies",
    "Proxy",
    "Report",
    "Spinning",
    "SweepError",
    "Unfinished",
    "Verdict",
    "VirtualClock",
    "Watch",
    "bubble",
    "done_context",
    "expiring_after",
    "recording",
    "run",
    "sweep",
    "verify_none",
    "wait",
    "wait_async",
]


def __getattr__(name: str) -> object:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(import_module(home, __name__), name)
    globals()[name] = value
    return value
