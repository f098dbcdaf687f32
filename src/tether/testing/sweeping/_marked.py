"""`@pytest.mark.tether_sweep`: a test is swept, with fresh fixtures each time.

The test's runner (pytest itself, pytest-asyncio, anyio) runs it again and again, so its
loop and its fixtures are the runner's, and time is real. Fixtures of wider scopes stay.
An argument `ctx` is the context of the operation, as in `sweep`; a plain test has to
take it, as it is ended by nothing else.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import wraps
from types import SimpleNamespace
from typing import Any, final

import pytest
from _pytest.runner import runtestprotocol

from ..._scope import Scope
from ..leaks import Watch
from . import _plain
from ._attempt import operate
from ._places import parse
from ._report import Verdict
from ._sweep import WAYS, conduct, quiet_collector
from ._trace import RAISES, Trace

MARKER = "tether_sweep"
CTX = "ctx"
NO_CTX = (
    f"{MARKER} ends a plain test through its ctx, and {{}} takes none: give it an "
    "argument ctx, which the marker fills in, and pass it on"
)


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
        self._function: Callable[..., Any] = item.obj
        self._is_async = inspect.iscoroutinefunction(item.obj)
        self._takes_ctx = CTX in item._fixtureinfo.argnames
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
        self._limit = mark.kwargs.get("limit", 10.0)
        at = mark.kwargs.get("at")
        try:
            if not (self._is_async or self._takes_ctx):
                return [self._refused(NO_CTX.format(self._item.name))]
            try:
                only = None if at is None else parse(at)
            except ValueError as exc:
                return [self._refused(str(exc))]
            with quiet_collector():
                report = conduct(
                    self._item.nodeid,
                    self._run,
                    WAYS if self._is_async else _plain.WAYS,
                    only=only,
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

    def _swept(self, trace: Trace) -> Callable[..., Any]:
        function, name, limit = self._function, self._item.name, self._limit
        takes_ctx = self._takes_ctx
        skips: list[BaseException] = []

        def call(ctx: Scope, args: Iterable[object], kwargs: dict[str, object]) -> Any:
            return function(*args, **({**kwargs, CTX: ctx} if takes_ctx else kwargs))

        @wraps(function)
        async def swept(*args: object, **kwargs: object) -> None:
            async def operation(ctx: Scope) -> None:
                with _noting(skips):
                    await call(ctx, args, kwargs)

            await operate(operation, trace, name, limit)
            if skips:
                raise skips[0]

        @wraps(function)
        def swept_plainly(*args: object, **kwargs: object) -> None:
            def operation(ctx: Scope) -> None:
                with _noting(skips):
                    call(ctx, args, kwargs)

            _plain.operate(operation, trace, name, limit)
            if skips:
                raise skips[0]

        return swept if self._is_async else swept_plainly


@contextmanager
def _noting(skips: list[BaseException]) -> Iterator[None]:
    """What pytest has to be told, while the sweep takes it for an error."""
    try:
        yield
    except pytest.skip.Exception as exc:
        skips.append(exc)
        raise
