"""tether.ext.logging: what each record says, and that it never fails."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from tests.core.support import Root
from tether import background
from tether.ext.logging import ContextFilter, install
from tether.testing import VirtualClock
from tether.wire import REQUEST_ID

FORMAT = "%(request_id)s %(remaining).1f %(cause)s|%(message)s"


class Lines(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.setFormatter(logging.Formatter(FORMAT))
        self.said: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.said.append(self.format(record))


@pytest.fixture
def lines() -> Iterator[Lines]:
    handler = Lines()
    logger = logging.getLogger("tests.shop")
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    yield handler
    logger.removeHandler(handler)


# A filter on a handler must see what child loggers say.
LOG = logging.getLogger("tests.shop.child")


@pytest.fixture(params=["factory", "filter"])
def shown(request: pytest.FixtureRequest, lines: Lines) -> Iterator[Lines]:
    if request.param == "filter":
        lines.addFilter(ContextFilter())
        yield lines
        return
    undo = install()
    yield lines
    undo()


def test_a_record_says_whose_it_is(shown: Lines) -> None:
    with VirtualClock() as clock:
        ctx = background().with_value(REQUEST_ID, "7d1")
        with ctx.with_timeout(2.0) as scope:
            clock.advance(0.5)
            LOG.info("half way")
            scope.cancel(KeyError("why"))
            LOG.info("over")
        LOG.info("outside")
    assert shown.said == ["7d1 1.5 |half way", "7d1 1.5 'why'|over", "- inf |outside"]


def test_a_cause_without_words_is_named(shown: Lines) -> None:
    with background().with_cancel() as scope:
        scope.cancel(RuntimeError())
        LOG.info("over")
    assert shown.said == ["- inf RuntimeError|over"]


def test_a_context_that_fails_does_not_fail_the_record(shown: Lines) -> None:
    class Unprintable(Exception):
        def __str__(self) -> str:
            raise ValueError("no words")

    class Failing(Root):
        def value(self, key: Any, default: Any = None) -> Any:
            if key is REQUEST_ID:
                raise ValueError("no value")
            return super().value(key, default)

    with background().with_cancel() as scope:
        scope.cancel(Unprintable())
        LOG.info("one")
    with Failing().with_cancel():
        LOG.info("two")
    assert [line.partition("|")[2] for line in shown.said] == ["one", "two"]


def test_what_a_call_sets_stays(shown: Lines) -> None:
    with background().with_cancel() as scope:
        scope.cancel(KeyError("why"))
        LOG.info("one", extra={"request_id": "mine"})
        LOG.info("two", extra={"remaining": 1.0, "cause": "mine"})
    assert shown.said == ["mine inf 'why'|one", "- 1.0 mine|two"]


def test_what_a_call_sets_stays_below_another_factory(lines: Lines) -> None:
    undo = install()
    ours = logging.getLogRecordFactory()
    logging.setLogRecordFactory(lambda *args, **kw: ours(*args, **kw))
    try:
        LOG.info("x", extra={"request_id": "mine"})
    finally:
        logging.setLogRecordFactory(ours)
        undo()
    assert lines.said == ["mine inf |x"]


def test_the_factory_goes_together_with_another_one(lines: Lines) -> None:
    plain = logging.getLogRecordFactory()
    undo = install()
    ours = logging.getLogRecordFactory()

    def more(*args: Any, **kw: Any) -> logging.LogRecord:
        record = ours(*args, **kw)
        record.more = 1
        return record

    logging.setLogRecordFactory(more)
    undo()  # not the one that is set any more: nothing is lost
    assert logging.getLogRecordFactory() is more
    LOG.info("x")
    logging.setLogRecordFactory(ours)
    undo()
    assert logging.getLogRecordFactory() is plain
    assert lines.said == ["- inf |x"]


def test_a_thread_without_a_context_says_so(shown: Lines) -> None:
    with background().with_value(REQUEST_ID, "7d1").with_cancel():
        thread = threading.Thread(target=LOG.info, args=("elsewhere",))
        thread.start()
        thread.join()
    assert shown.said[0].endswith("|elsewhere")


def test_a_record_names_the_work_it_belongs_to(lines: Lines) -> None:
    lines.addFilter(ContextFilter())
    lines.setFormatter(logging.Formatter("%(root)s|%(message)s"))
    with (
        background().with_cancel(label="GET /users/{id}") as request,
        request.with_timeout(1.0),
    ):
        LOG.info("inside")
    LOG.info("outside")
    assert lines.said == ["GET /users/{id}|inside", "-|outside"]


@pytest.mark.parametrize("way", ["factory", "filter"])
def test_a_record_without_a_deadline_can_be_written_as_json(
    way: str, lines: Lines
) -> None:
    class Json(logging.Formatter):
        def format(self, record: logging.LogRecord) -> str:
            return json.dumps(vars(record)["remaining"], allow_nan=False)

    lines.setFormatter(Json())
    undo = None
    if way == "factory":
        undo = install(unlimited=None)
    else:
        lines.addFilter(ContextFilter(unlimited=None))
    LOG.info("outside")
    with VirtualClock(), background().with_timeout(2.0):
        LOG.info("inside")
    if undo is not None:
        undo()
    assert lines.said == ["null", "2.0"]
