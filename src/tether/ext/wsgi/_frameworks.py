"""What Flask and Django tell of a request.

Flask, which route it has found, when nothing of the application has run. Both, which
exception they make a 500 of, before they log it as a crash. Neither is loaded for it:
who uses one has it.
"""

from __future__ import annotations

import logging
import sys
from typing import final

from tether import Context, ContextError
from tether._route import CONTEXT, name_by_route


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
            else:
                module.request_started.connect(_routed)


def _routed(_: object, **__: object) -> None:
    request = sys.modules["flask"].request
    scope = request.environ.get(CONTEXT)
    if scope is not None:
        rule = request.url_rule
        route = None if rule is None else rule.rule
        name_by_route(scope, request.method, request.root_path, route)


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
