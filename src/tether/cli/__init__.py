"""The `tether` command. Its libraries come with `pip install "tether[cli]"`."""

from __future__ import annotations

import sys

MISSING = """\
The tether command needs click and rich, which are not installed with the library:

    pip install "tether[cli]"
"""


def main() -> None:
    """Run the command line and leave the process with its exit status."""
    try:
        from ._app import app
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in {"click", "rich"}:
            raise
        sys.stderr.write(MISSING)
        raise SystemExit(2) from None
    app(prog_name="tether")
