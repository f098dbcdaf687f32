"""`tether sweep`: an operation of somebody's module, ended at every place."""

from __future__ import annotations

import importlib
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import click

from ..testing import Verdict
from ..testing import sweep as run


@click.command()
@click.argument("target", metavar="MODULE:FUNCTION")
@click.option("--setup", metavar="MODULE:FUNCTION", help="What makes a fresh state.")
@click.option("--check", metavar="MODULE:FUNCTION", help="What must hold afterwards.")
@click.option("--at", metavar="PLACE", help="Only this place, as a report names it.")
@click.option("--twice", is_flag=True, help="Cancel its cleanup as well.")
@click.option(
    "--limit",
    type=click.FloatRange(min=0.0, min_open=True),
    default=3600.0,
    show_default=True,
    metavar="SECONDS",
    help="What one run may take, on the clock that it runs on.",
)
@click.option("--real-time", is_flag=True, help="Run on the real clock.")
def sweep(
    target: str,
    setup: str | None,
    check: str | None,
    at: str | None,
    twice: bool,
    limit: float,
    real_time: bool,
) -> None:
    """End FUNCTION at each place where it can be ended, and see what is wrong then.

    The status is 0 for PASS, 1 for FAIL, 2 for UNRESOLVED and for what cannot be run.
    """
    sys.path.insert(0, str(Path.cwd()))
    try:
        report = run(
            _load(target),
            setup=None if setup is None else _load(setup),
            check=None if check is None else _load(check),
            at=at,
            twice=twice,
            limit=limit,
            real_time=real_time,
        )
    except (TypeError, ValueError, RuntimeError) as error:
        raise click.UsageError(str(error)) from error
    except Exception:
        traceback.print_exc()  # of the setup: it is none of what the sweep finds
        sys.exit(2)
    click.echo(str(report))
    codes = {Verdict.PASS: 0, Verdict.FAIL: 1, Verdict.UNRESOLVED: 2}
    sys.exit(codes[report.verdict])


def _load(target: str) -> Callable[..., object]:
    module, colon, path = target.partition(":")
    if not (module and colon and path):
        raise click.UsageError(f"{target!r} is not MODULE:FUNCTION, as shop:checkout")
    try:
        found: Any = importlib.import_module(module)
    except (ImportError, SystemExit) as error:
        raise click.UsageError(f"{module} cannot be imported: {error}") from error
    for name in path.split("."):
        if not hasattr(found, name):
            raise click.UsageError(f"{module} has no {path}")
        found = getattr(found, name)
    if not callable(found):
        raise click.UsageError(f"{target} is no function")
    return cast(Callable[..., object], found)
