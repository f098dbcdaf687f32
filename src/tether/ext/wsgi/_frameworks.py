"""Learns of the exceptions that Flask and Django make a 500 of, and log as crashes.

Both tell who asks before they do. They are not loaded for it: who uses one has it.
"""

from __future__ import annotations

import logging
import sys
from typing import cast

from tether import ContextError

from ._request import Request, in_progress


def listen() -> None:
    """Learn of the exceptions that Flask and Django make a 500 of, and log."""
    for name in ("flask.signals", "django.core.signals"):
        module = sys.modules.get(name)
        if module is not None:
            module.got_request_exception.connect(_crashed)
            if name.startswith("django"):
                logging.getLogger("django.request").addFilter(_is_a_crash)


def _crashed(sender: object = None, **_: object) -> None:
    exc = sys.exc_info()[1]
    request = _request_that_ended(exc)
    if request is not None:
        request.crashed = cast(ContextError, exc).__class__
        request.logged = False
        logger = getattr(sender, "logger", None)  # of Flask's application
        if isinstance(logger, logging.Logger):
            logger.addFilter(_is_a_crash)


def _is_a_crash(record: logging.LogRecord) -> bool:
    """Drops the one record in which a framework calls the end of a request a crash."""
    if record.exc_info:
        request = _request_that_ended(record.exc_info[1])
        if request is not None and not request.logged:
            request.logged = True
            return False
    return True


def _request_that_ended(exc: BaseException | None) -> Request | None:
    if isinstance(exc, ContextError) and exc.ctx is not None:
        return in_progress.get(exc.ctx)
    return None
