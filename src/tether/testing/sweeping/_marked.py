"""`@pytest.mark.tether_sweep`: a test is swept, with fresh fixtures each time.

The test's runner (pytest itself, pytest-asyncio, anyio) runs it again and again, so its
loop and its fixtures are the runner's, and time is real. Fixtures of wider scopes stay.
An argument `ctx` is the context of the operation, as in `sweep`; a plain test has to
take it, as it is ended by nothing else.
"""

from __future__ import annotations

import inspect
import unittest
from collections.abc import Callable, Iterable
from functools import wraps
from types import SimpleNamespace
from typing import Any, final

import pytest
from _pytest.runner import runtestprotocol
from _pytest.skipping import evaluate_xfail_marks

from ... import _loops
from ..._scope import Scope
from ..leaks import Watch
from . import _plain
from ._attempt import operate
from ._case import limit_
from ._places import parse
from ._report import Report, Verdict
from ._sweep import WAYS, conduct, quiet_collector
from ._trace import Kind, Trace

MARKER = "tether_sweep"
CTX = "ctx"
NO_CTX = (
    f"{MARKER} ends a plain test through its ctx, and {{}} takes none: give it an "
    "argument ctx, which the marker fills in, and pass it on"
)
NO_PYTEST_TEST = (
    f"{MARKER} runs a test many times, and {{}} belongs to a unittest.TestCase, which "
    "runs it in its own way: make it a function, an async one under pytest-asyncio or "
    "anyio"
)
NO_ASYNCIO = (
    f"{MARKER} ends tasks of asyncio, and {{}} runs elsewhere, in trio maybe: give it "
    'the asyncio backend alone, @pytest.mark.parametrize("anyio_backend", ["asyncio"])'
)


@final
class Sweeps:
    """Takes over the tests with the marker."""

    def __init__(self, observe: Callable[[Watch | None], None]) -> None:
        self._observe = observe  # has the fixtures of a run told apart
        self._runs: _Runs | None = None

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_protocol(
        self, item: pytest.Item, nextitem: pytest.Item | None
    ) -> bool | None:
        """Run it once for each way to end it, and report once."""
        mark = item.get_closest_marker(MARKER)
        if mark is None or _is_not_to_run(item):
            return None
        hooks = item.ihook
        hooks.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
        self._runs = _Runs(item, nextitem, self._observe)
        try:
            reports = self._runs.reports(mark)
        finally:
            self._runs = None
        for report in reports:
            hooks.pytest_runtest_logreport(report=report)
        hooks.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
        return True

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_makereport(self, call: pytest.CallInfo[None]) -> None:
        """Keep what each phase has come to: it is told when all runs are over."""
        if self._runs is not None:
            self._runs.calls.append(call)


def _is_not_to_run(item: pytest.Item) -> bool:
    """Whether it is expected to fail so badly that it must not even begin."""
    if item.config.option.runxfail or all(
        mark.kwargs.get("run", True) for mark in item.iter_markers("xfail")
    ):
        return False
    expected = evaluate_xfail_marks(item)
    return expected is not None and not expected.run


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
        self.calls: list[pytest.CallInfo[None]] = []  # of a run
        self._first: list[pytest.CallInfo[None]] | None = None
        self._sections: list[tuple[str, str, str]] = []  # and what it has printed
        self._function: Callable[..., Any] = item.obj
        self._is_async = inspect.iscoroutinefunction(item.obj)
        self._takes_ctx = CTX in item._fixtureinfo.argnames
        # Stands for a neighbour, so that the fixtures of the module stay.
        self._neighbour: Any = SimpleNamespace(
            listchain=item.parent.listchain, nodeid=item.nodeid
        )

    def reports(self, mark: pytest.Mark) -> list[pytest.TestReport]:
        """What pytest is told: of the first run, with the findings of all."""
        at, limit = mark.kwargs.get("at"), mark.kwargs.get("limit", 10.0)
        option = self._item.config.option
        as_expected = option.runxfail
        option.runxfail = True  # each run for itself: a failure is one
        try:
            if issubclass(self._item.cls or object, unittest.TestCase):
                return [self._refused(NO_PYTEST_TEST.format(self._item.name))]
            if not (self._is_async or self._takes_ctx):
                return [self._refused(NO_CTX.format(self._item.name))]
            why, only = "", None
            try:
                only = None if at is None else parse(at)
                self._limit = limit_(limit)
            except (TypeError, ValueError) as exc:
                why = str(exc)
            if why:
                return [self._refused(why)]
            with quiet_collector():
                report = conduct(
                    self._item.nodeid,
                    self._run,
                    WAYS if self._is_async else _plain.WAYS,
                    only=only,
                    twice=mark.kwargs.get("twice", False),
                )
        finally:
            option.runxfail = as_expected
            self._item.obj = self._function
            self._item.session._setupstate.teardown_exact(self._nextitem)
        return self._told(report)

    def _told(self, report: Report) -> list[pytest.TestReport]:
        calls = self._first
        assert calls is not None
        # If it fails by itself, pytest shows that better than a report does.
        passed = all(call.excinfo is None for call in calls)
        if report.verdict is not Verdict.PASS and passed:
            failed = pytest.CallInfo.from_call(
                lambda: pytest.fail(str(report), pytrace=False), when="call"
            )
            calls = [failed if call.when == "call" else call for call in calls]
        self._item._report_sections[:] = self._sections
        # By the hook, so that it knows a failure that is expected.
        tell = self._item.ihook.pytest_runtest_makereport
        return [tell(item=self._item, call=call) for call in calls]

    def _refused(self, why: str) -> pytest.TestReport:
        call = pytest.CallInfo.from_call(
            lambda: pytest.fail(why, pytrace=False), when="setup"
        )
        return pytest.TestReport.from_item_and_call(self._item, call)

    def _run(self, trace: Trace) -> None:
        self._item._initrequest()
        if self._takes_ctx:
            self._item.funcargs[CTX] = None  # of no fixture: `_swept` fills it in
        self._item.obj = self._swept(trace)
        self.calls = []
        watch = Watch()
        watch.begin()
        self._observe(watch)
        try:
            with watch.hearing():
                reports = runtestprotocol(
                    self._item, log=False, nextitem=self._neighbour
                )
            for one in reports:
                if one.failed and (one.when != "call" or trace.error is None):
                    said = f"it raises in {one.when}: {one.longreprtext}"
                    trace.add(Kind.RAISES, said)
            trace.left(watch.left())
        finally:
            self._observe(None)
            watch.end()
        if self._first is None:
            self._first = [*self.calls]
            self._sections = [*self._item._report_sections]

    def _swept(self, trace: Trace) -> Callable[..., Any]:
        function, name, limit = self._function, self._item.name, self._limit
        takes_ctx = self._takes_ctx

        def call(ctx: Scope, args: Iterable[object], kwargs: dict[str, object]) -> Any:
            return function(*args, **({**kwargs, CTX: ctx} if takes_ctx else kwargs))

        @wraps(function)
        async def swept(*args: object, **kwargs: object) -> None:
            async def operation(ctx: Scope) -> None:
                await call(ctx, args, kwargs)

            if _loops.running_loop() is None:
                pytest.fail(NO_ASYNCIO.format(name), pytrace=False)
            await operate(operation, trace, name, limit)
            if trace.error is not None:
                raise trace.error

        @wraps(function)
        def swept_plainly(*args: object, **kwargs: object) -> None:
            _plain.operate(lambda ctx: call(ctx, args, kwargs), trace, name, limit)
            if trace.error is not None:
                raise trace.error

        return swept if self._is_async else swept_plainly
