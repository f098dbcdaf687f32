"""Learns of the exceptions that Flask and Django make a 500 of, and log as crashes.

Both tell who asks before they do. Neither is loaded for it: who uses one has it.
"""

from __future__ import annotations

import logging
import sys
from typing import final

from tether import Context, ContextError


@final
class Crash:
    """The end of a request, taken for a crash of its view."""

    logged = False

    def __init__(self, kind: type[ContextError]) -> None:
        self.kind = kind


# By the contexts of the requests in progress. Not the requests themselves: one whose
# response the server has dropped is not to be kept.
crashes: dict[Context, Crash | None] = {}


def listen() -> None:
    """Learn of them from now on."""
    for name in ("flask.signals", "django.core.signals"):
        module = sys.modules.get(name)
        if module is not None:
            module.got_request_exception.connect(_crashed)
            if name.startswith("django"):
                logging.getLogger("django.request").addFilter(_is_a_crash)


def _crashed(sender: object = None, **_: object) -> None:
    exc = sys.exc_info()[1]
    if isinstance(exc, ContextError) and exc.ctx in crashes:
        crashes[exc.ctx] = Crash(type(exc))
        logger = getattr(sender, "logger", None)  # of Flask's application
        if isinstance(logger, logging.Logger):
            logger.addFilter(_is_a_crash)


def _is_a_crash(record: logging.LogRecord) -> bool:
    """Drops the one record in which a framework calls the end of a request a crash."""
    exc = record.exc_info[1] if record.exc_info else None
    if isinstance(exc, ContextError) and exc.ctx is not None:
        crash = crashes.get(exc.ctx)
        if crash is not None and not crash.logged:
            crash.logged = True
            return False
    return True
