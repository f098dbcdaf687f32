"""One server of the shop, as a process: python -m demo.serve MODULE PORT.

It lives no longer than whoever has started it. That one holds the other end of our
standard input and never writes to it; when it is gone, however it went, the pipe is
closed, and so are we.
"""

from __future__ import annotations

import importlib
import logging
import os
import sys
import threading

from tether import debug
from tether.ext.logging import install
from tether.ext.uvicorn import serve

FORMAT = "%(asctime)s %(levelname)s [%(request_id)s, %(remaining).2f s] %(message)s"


def main(module: str, port: int) -> int:
    """Serve the application of a module until SIGTERM, as `tether serve` does."""
    follow_parent()
    log_with_contexts()
    page = os.environ.get("DEMO_DEBUG")
    if page:
        debug.serve(int(page))
    app = importlib.import_module(module).app
    return serve(lambda: app, port=port, log_level="warning", access_log=False)


def log_with_contexts() -> None:
    """Request id and remaining time in every record, which goes to standard error."""
    install()
    logging.basicConfig(format=FORMAT, level=logging.INFO)
    logging.getLogger("httpx").setLevel(logging.WARNING)  # it tells of each request


def follow_parent() -> None:
    """Leave at once when the parent has."""

    def watch() -> None:
        while os.read(0, 1024):
            pass
        os._exit(1)

    threading.Thread(target=watch, daemon=True, name="follow parent").start()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], int(sys.argv[2])))
