"""Runs one of the services under uvicorn: python -m demo.serve NAME DATABASE UPSTREAM.

It listens on a free port of the loopback, prints the port, and ends when its standard
input is closed: so it never outlives the program that started it.
"""

from __future__ import annotations

import importlib
import os
import sys
import threading

import uvicorn

from demo.settings import Settings
from demo.stats import Counted


def main(name: str, database: str, upstream: str) -> None:
    module = importlib.import_module(f"demo.{name}")
    config = uvicorn.Config(
        Counted(module.make_app(Settings(database, upstream))),
        port=0,
        log_level="warning",
        timeout_graceful_shutdown=1,
    )
    listening = config.bind_socket()
    print(listening.getsockname()[1], flush=True)
    threading.Thread(target=end_with_parent, daemon=True).start()
    uvicorn.Server(config).run([listening])


def end_with_parent() -> None:
    while os.read(0, 100):
        pass
    os._exit(0)


if __name__ == "__main__":
    main(*sys.argv[1:])
