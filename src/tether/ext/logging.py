"""logging: every record says which request it belongs to, and how long that has left.

    logging.basicConfig(format="%(request_id)s %(remaining).3f %(message)s")
    install()

A record gets four attributes, from `current()` at the moment of the call:

    request_id   the id of the request, "-" where there is none
    root         the name of the work, as "GET /users/{id}", "-" where there is none
    remaining    the seconds left; `unlimited`, which is `inf`, without a deadline
    cause        why the context is over, "" while it lasts

A formatter that writes JSON needs `unlimited=None`: JSON knows no infinity, and
Python's `json` writes `Infinity`, which no other reader takes.

`install()` does it for all records. `ContextFilter` does it for those of one handler:
a filter of a logger would not see what its child loggers say. Neither ever raises, and
what a call sets itself (`extra={"request_id": …}`) stays.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Collection
from types import FrameType

from tether import current
from tether._clock import INF
from tether.wire import REQUEST_ID

__all__ = ["ContextFilter", "install"]


class ContextFilter(logging.Filter):
    """A filter for a handler that lets all records pass and adds to each.

    `unlimited` is what `remaining` is without a deadline.

        >>> handler = logging.StreamHandler()
        >>> handler.addFilter(ContextFilter())
    """

    def __init__(self, *, unlimited: float | None = INF) -> None:
        super().__init__()
        self._unlimited = unlimited

    def filter(self, record: logging.LogRecord) -> bool:
        """Add to the record; always True."""
        _add(record, self._unlimited)
        return True


def install(*, unlimited: float | None = INF) -> Callable[[], None]:
    """Add to all records from now on; returns what undoes it.

    It wraps the record factory that is set, so it goes together with another one.
    `unlimited` is what `remaining` is without a deadline: None for formatters that
    write JSON.

        >>> from tether import background
        >>> undo = install()
        >>> with background().with_value(REQUEST_ID, "7d1").with_timeout(2.0):
        ...     record = logging.getLogRecordFactory()("a", 20, "", 1, "hi", (), None)
        >>> record.request_id, 1.0 < record.remaining <= 2.0
        ('7d1', True)
        >>> undo()
    """
    before = logging.getLogRecordFactory()

    def make(*args: object, **kwargs: object) -> logging.LogRecord:
        record: logging.LogRecord = before(*args, **kwargs)
        _add(record, unlimited, _extra(sys._getframe(1)))
        return record

    def undo() -> None:
        if logging.getLogRecordFactory() is make:  # else somebody has wrapped it
            logging.setLogRecordFactory(before)

    logging.setLogRecordFactory(make)
    return undo


_MAKES = logging.Logger.makeRecord.__code__


def _extra(caller: FrameType | None) -> Collection[str]:
    """What the call sets by `extra=`: logging refuses a record that has it already."""
    for _ in range(8):  # other factories may stand in between
        if caller is None:
            break
        if caller.f_code is _MAKES:
            return caller.f_locals["extra"] or ()
        caller = caller.f_back
    return ()


def _add(
    record: logging.LogRecord, unlimited: float | None, given: Collection[str] = ()
) -> None:
    said: dict[str, object] = {
        "request_id": "-",
        "root": "-",
        "remaining": unlimited,
        "cause": "",
    }
    known = vars(record)
    if said.keys() <= known.keys():
        return  # by the factory, or in another thread
    try:
        ctx = current()
        said["request_id"] = ctx.value(REQUEST_ID, "-")
        said["root"] = ctx.label or "-"
        left = ctx.remaining()
        if left != INF:
            said["remaining"] = left
        cause = ctx.cause()
        if cause is not None:
            said["cause"] = str(cause) or type(cause).__name__
    except Exception:
        # A context of the user's own that fails, a cause that cannot be printed. The
        # record matters more.
        pass
    for name, value in said.items():
        if name not in given:
            known.setdefault(name, value)
