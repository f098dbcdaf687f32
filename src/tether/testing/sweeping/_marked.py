"""`@pytest.mark.tether_sweep`: a test is swept, with fresh fixtures each time.

The test's runner (pytest-asyncio, anyio) runs it again and again, so its loop and its
fixtures are the runner's, and time is real. Fixtures of wider scopes stay.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Coroutine
from functools import wraps
from types import SimpleNamespace
from typing import Any, final

import pytest
from _pytest.runner import runtestprotocol

from ..leaks import Watch
from ._attempt import operate
from ._places import parse
from ._report import Verdict
from ._sweep import WAYS, conduct, quiet_collector
from ._trace import RAISES, Trace

MARKER = "tether_sweep"


@final
class Sweeps:
    """Takes over the tests with the marker."""

    def __init__(self, observe: Callable[[Watch | None], None]) -> None:
        self._observe = observe  # has the fixtures of a run told apart

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_protocol(
        self, item: pytest.Item, nextitem: pytest.Item | None
    ) -> bool | None:
        """Run it once for each way to end it, and report once."""
        mark = item.get_closest_marker(MARKER)
        if mark is None:
            return None
        hooks = item.ihook
        hooks.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
        for report in _Runs(item, nextitem, self._observe).reports(mark):
            hooks.pytest_runtest_logreport(report=report)
        hooks.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
        return True


@final
class _Runs:
    """All the runs of one test."""

    def __init__(
        self,
        item: Any,
        nextitem: pytest.Item | None,
        observe: Callable[[Watch | None], None],
    ) -> None:
        self._item = item
        self._nextitem = nextitem
        self._observe = observe
        self._reports: list[pytest.TestReport] = []
        self._function: Callable[..., Coroutine[Any, Any, object]] = item.obj
        # Stands for a neighbour, so that the fixtures of the module stay.
        self._neighbour: Any = SimpleNamespace(
            listchain=item.parent.listchain, nodeid=item.nodeid
        )

    def reports(self, mark: pytest.Mark) -> list[pytest.TestReport]:
        """What pytest is told: of the first run, with the findings of all."""
        known = {"at", "limit", "twice"}
        if mark.args or not known >= mark.kwargs.keys():
            raise pytest.UsageError(
                f"{MARKER} takes at=, twice= and limit=, not {mark}"
            )
        if not inspect.iscoroutinefunction(self._function):
            raise pytest.UsageError(
                f"{MARKER} sweeps coroutine functions; for a plain one that takes ctx "
                f"call tether.testing.sweep() in the test: {self._item.nodeid}"
            )
        self._limit = mark.kwargs.get("limit", 10.0)
        at = mark.kwargs.get("at")
        try:
            with quiet_collector():
                report = conduct(
                    self._item.nodeid,
                    self._run,
                    WAYS,
                    only=None if at is None else parse(at),
                    twice=mark.kwargs.get("twice", False),
                )
        finally:
            self._item.obj = self._function
            self._item.session._setupstate.teardown_exact(self._nextitem)
        first = self._reports
        if report.verdict is not Verdict.PASS and all(one.passed for one in first):
            call = next(one for one in first if one.when == "call")
            call.outcome = "failed"
            call.longrepr = str(report)
        return first

    def _run(self, trace: Trace) -> None:
        self._item._initrequest()
        self._item.obj = self._swept(trace)
        watch = Watch()
        watch.begin()
        self._observe(watch)
        try:
            with watch.hearing():
                reports = runtestprotocol(
                    self._item, log=False, nextitem=self._neighbour
                )
            for one in reports:
                if one.failed:
                    trace.problems.append(f"{RAISES} in {one.when}: {one.longreprtext}")
            trace.left(watch.left())
        finally:
            self._observe(None)
            watch.end()
        if not self._reports:
            self._reports = reports

    def _swept(self, trace: Trace) -> Callable[..., Coroutine[Any, Any, None]]:
        function, name, limit = self._function, self._item.name, self._limit

        @wraps(function)
        async def swept(*args: object, **kwargs: object) -> None:
            await operate(lambda _: function(*args, **kwargs), trace, name, limit)

        return swept
