"""aiofiles: files by way of threads."""

from __future__ import annotations

import aiofiles
import aiofiles.tempfile

from bench.packages._operation import Operation

PACKAGE = "aiofiles"


async def read() -> None:
    async with aiofiles.open(__file__) as file:
        assert await file.read()


async def temporary() -> None:
    async with aiofiles.tempfile.TemporaryDirectory():
        pass


OPERATIONS = [
    Operation("open, read", read, real_time=True, shown_by="aiofiles_open"),
    Operation(
        "TemporaryDirectory", temporary, real_time=True, shown_by="aiofiles_open"
    ),
]
