"""`tether serve`: an application under uvicorn, with contexts, and stopped in order."""

from __future__ import annotations

import atexit
import importlib
import math
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import click

from .. import debug
from ..ext.asgi import ASGIApp, ContextMiddleware, Service


class Seconds(click.FloatRange):
    """A time that passes."""

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> Any:
        """Refuse what the range lets through: NaN and infinity."""
        seconds = super().convert(value, param, ctx)
        if not math.isfinite(seconds):
            self.fail(f"{value!r} is not a number of seconds.", param, ctx)
        return seconds


_SECONDS = Seconds(min=0.0)
_TIME = Seconds(min=0.0, min_open=True)
_MISSING = """\
tether serve needs uvicorn, which is not installed with the library:

    pip install "tether[serve]"
"""
_ONE_EACH = (
    "--debug with --workers takes no place: each worker has a socket, which "
    "`tether top PID` finds"
)


@dataclass(frozen=True)
class Page:
    """Where the live page of a process is to be."""

    host: str = "127.0.0.1"
    port: int | None = 6060  # None: on a socket alone
    path: str | None = None  # None: where `tether top` finds it

    def open(self) -> None:
        """Begin with it; an error for a person."""
        token = os.environ.get("TETHER_DEBUG_TOKEN") or None
        try:
            page = debug.serve(
                self.port, host=self.host, token=token, path=self.path, signal=True
            )
        except (OSError, ValueError) as error:
            raise click.UsageError(f"--debug: {error}") from None
        atexit.register(page.close)
        click.echo(f"the live page is at {page.url}", err=True)


def place(
    ctx: click.Context,  # noqa: ARG001
    param: click.Parameter,  # noqa: ARG001
    value: str | None,
) -> Page | None:
    """HOST:PORT, a PORT, the path of a unix socket, or nothing."""
    if value is None:
        return None
    if not value:
        return Page()
    if "/" in value:
        return Page(port=None, path=value)
    host, _, port = value.rpartition(":")
    if not (port.isascii() and port.isdecimal() and int(port) < 65536):
        raise click.BadParameter(
            f"{value!r} is no HOST:PORT and no path of a socket, which has a /; "
            "--debug alone stands behind MODULE:APP"
        )
    return Page(host.strip("[]") or "127.0.0.1", int(port))


@click.command()
@click.argument("target", metavar="MODULE:APP")
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", type=click.IntRange(0, 65535), default=8000, show_default=True)
@click.option(
    "--workers", type=click.IntRange(min=1), default=1, show_default=True, metavar="N"
)
@click.option("--factory", is_flag=True, help="APP makes the application when called.")
@click.option(
    "--timeout",
    type=_TIME,
    metavar="SECONDS",
    help="What a request may take.",
)
@click.option(
    "--max-timeout",
    type=_TIME,
    metavar="SECONDS",
    help="The most a caller can ask for, without --timeout.",
)
@click.option(
    "--header-timeout",
    type=_TIME,
    default=10.0,
    show_default=True,
    metavar="SECONDS",
    help="What a client may take to send the head of a request.",
)
@click.option(
    "--drain",
    type=_SECONDS,
    metavar="SECONDS",
    help="After SIGTERM: how long to serve on while not ready.  [default: 3]",
)
@click.option(
    "--grace",
    type=_SECONDS,
    metavar="SECONDS",
    help="Then: how long requests may take to end by themselves.  [default: 12]",
)
@click.option(
    "--hard",
    type=_SECONDS,
    metavar="SECONDS",
    help="Then: how long canceled requests may take to clean up.  [default: 3]",
)
@click.option(
    "--detached",
    type=_SECONDS,
    metavar="SECONDS",
    help="Meanwhile: how long detached work may go on.  [default: 8]",
)
@click.option(
    "--readyz",
    metavar="PATH",
    help='The path of the readiness probe, "" for none.  [default: /readyz]',
)
@click.option(
    "--log-level",
    type=click.Choice(["critical", "error", "warning", "info", "debug", "trace"]),
    default="info",
    show_default=True,
)
@click.option("--access-log/--no-access-log", default=True)
@click.option(
    "--debug",
    "page",
    is_flag=False,
    flag_value="",
    callback=place,
    metavar="[HOST:PORT|SOCKET]",
    help="The live page, by default at 127.0.0.1:6060. Others than this machine need "
    "the token in TETHER_DEBUG_TOKEN. With workers: on a socket for each.",
)
def serve(
    target: str,
    host: str,
    port: int,
    workers: int,
    factory: bool,
    timeout: float | None,
    max_timeout: float | None,
    header_timeout: float,
    drain: float | None,
    grace: float | None,
    hard: float | None,
    detached: float | None,
    readyz: str | None,
    log_level: str,
    access_log: bool,
    page: Page | None,
) -> None:
    """Serve an ASGI application: a context for each request, and a stop in order.

    MODULE:APP is as for uvicorn, as shop.main:app, looked for in the present folder.

    SIGTERM lets /readyz answer 503 (--drain), then stops listening and waits (--grace),
    then cancels what is left and waits (--hard, --detached), then ends the lifespan and
    leaves with status 0. A second signal leaves at once.
    """
    if find_spec("uvicorn") is None:
        click.echo(_MISSING, err=True, nl=False)
        raise SystemExit(2)
    from ..ext import uvicorn

    limits = {"timeout": timeout, "max_timeout": max_timeout}
    stop = {"drain": drain, "grace": grace, "hard": hard, "detached": detached}
    make = Target(
        target,
        factory,
        {name: value for name, value in limits.items() if value is not None},
        {name: value for name, value in stop.items() if value is not None}
        | ({} if readyz is None else {"readyz": readyz or None}),
    )
    sys.path.insert(0, str(Path.cwd()))
    service = make()  # also in front of workers: to complain here, and once
    app: Callable[[], Service] = make
    if workers == 1:
        app = lambda: service  # noqa: E731
        if page is not None:
            page.open()
    elif page is not None:
        if page not in (Page(), Page(port=None)):
            raise click.UsageError(_ONE_EACH)
        app = WithPage(make, Page(port=None))
    status = uvicorn.serve(
        app,
        host=host,
        port=port,
        workers=workers,
        header_timeout=header_timeout,
        stop_within=service.grace + service.hard + 1.0,
        log_level=log_level,
        access_log=access_log,
    )
    raise SystemExit(status)


@dataclass(frozen=True)
class WithPage:
    """What each of several processes makes, and its live page."""

    make: Target
    page: Page

    def __call__(self) -> Service:
        """The application."""
        self.page.open()
        return self.make()


@dataclass(frozen=True)
class Target:
    """What each process makes of the command line."""

    name: str
    factory: bool
    limits: dict[str, Any]  # of ContextMiddleware
    stop: dict[str, Any]  # of Service

    def __call__(self) -> Service:
        """The application, with what belongs around it; an error for a person."""
        app = self._app()
        if isinstance(app, Service):
            if self.limits or self.stop:
                given = ", ".join(f"--{name}" for name in {**self.limits, **self.stop})
                text = f"{self.name} is a Service, which has its own: {given}"
                raise click.UsageError(text.replace("_", "-"))
            return app
        if self.limits or not isinstance(app, ContextMiddleware):
            app = ContextMiddleware(app, **self.limits)
        try:
            return Service(app, **self.stop)
        except ValueError as error:
            raise click.UsageError(str(error)) from None

    def _app(self) -> ASGIApp:
        module, colon, attributes = self.name.partition(":")
        if not (module and colon and attributes):
            text = f"{self.name!r} is not of the form MODULE:APP, as shop.main:app"
            raise click.UsageError(text)
        try:
            found: Any = importlib.import_module(module)
        except ModuleNotFoundError as error:
            # Another one is missing inside it: that is a matter for a traceback.
            if not error.name or not f"{module}.".startswith(f"{error.name}."):
                raise
            text = f"there is no module {error.name!r} in {Path.cwd()} or installed"
            raise click.UsageError(text) from None
        for name in attributes.split("."):
            try:
                found = getattr(found, name)
            except AttributeError:
                text = f"{module!r} has no {attributes!r}"
                raise click.UsageError(text) from None
        if not callable(found):
            text = f"{self.name} is no ASGI application: {found!r}"
            raise click.UsageError(text)
        if self.factory:
            found = found()
            if not callable(found):
                raise click.UsageError(f"{self.name}() made no application: {found!r}")
        return found  # type: ignore[no-any-return]
