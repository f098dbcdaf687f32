"""The group of all commands: one module a command."""

from __future__ import annotations

from importlib.metadata import version

import click

from ._serve import serve
from ._sweep import sweep
from ._top import top
from ._vet import vet


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(version("tether"), prog_name="tether")
def app() -> None:
    """Deadlines, cancellation and request values that follow the work."""


app.add_command(serve)
app.add_command(top)
app.add_command(sweep)
app.add_command(vet)
