"""A live page in a folder of the test's own."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tether import debug
from tether.debug import _sockets


@pytest.fixture(autouse=True)
def runtime(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where socket files go; short, as their paths are limited to 100 bytes."""
    with tempfile.TemporaryDirectory(prefix="t") as folder:
        monkeypatch.setenv("XDG_RUNTIME_DIR", folder)
        # Of this process: what else runs on this machine may have pages elsewhere.
        monkeypatch.setattr(_sockets, "folders", lambda uid: [Path(folder, "tether")])
        yield Path(folder)


@pytest.fixture
def page(runtime: Path) -> Iterator[debug.Server]:
    with debug.serve(port=0) as server:
        yield server
