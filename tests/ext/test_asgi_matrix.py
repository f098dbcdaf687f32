"""ContextMiddleware under every server, with every framework, in every case.

Each cell is a test on a real socket against a real server process.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.ext import matrix
from tests.ext.matrix import CELLS, SERVERS, Cell, Server


@pytest.fixture(scope="module")
def servers() -> Iterator[dict[str, Server]]:
    servers = matrix.start_all()
    yield servers
    matrix.stop_all(servers)


@pytest.mark.parametrize("cell", CELLS, ids=str)
def test_cell(servers: dict[str, Server], cell: Cell) -> None:
    cell.run(servers[cell.server])


@pytest.mark.parametrize("name", SERVERS)
def test_nothing_is_logged_as_a_crash(servers: dict[str, Server], name: str) -> None:
    server = servers[name]
    for cell in CELLS:
        if cell.server == name and cell.case in {"deadline", "disconnect during await"}:
            cell.run(server)
    assert matrix.crashes(server) == []


def test_the_page_shows_every_cell() -> None:
    page = matrix.PAGE.read_text(encoding="utf-8")
    assert matrix.table({cell: cell.word for cell in CELLS}) in page
