"""From the client to the database: who hangs up ends the query."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from demo.databases.server import Server
from tests.ext.chain import PATHS, service
from tests.ext.serving import get
from tests.ext.watching import Watch, table


@pytest.fixture
def orders(postgres: Server) -> Iterator[str]:
    with table(postgres, "orders") as name:
        yield name


@pytest.mark.parametrize("path", PATHS)
def test_a_client_that_hangs_up_ends_the_query(
    postgres: Server, orders: str, path: str
) -> None:
    with service(postgres) as served, Watch(postgres) as watch:
        for number in range(4):  # more than there are connections
            mark = f"hung-up-{path[1:]}-{number}"
            with served.ask(get(f"{path}?mark={mark}")):
                watch.until(mark, runs=True)
            watch.until(mark, runs=False)
        assert served.answer(get("/count")) == (200, b"0")
        assert watch.value(f"select count(*) from {orders}") == 0
    assert served.problems.said == []


@pytest.mark.parametrize("path", PATHS)
def test_the_time_of_a_request_ends_the_query(
    postgres: Server, orders: str, path: str
) -> None:
    with service(postgres, timeout=0.5) as served, Watch(postgres) as watch:
        mark = f"timed-out-{path[1:]}"
        status, _ = served.answer(get(f"{path}?mark={mark}"))
        assert status == 504
        watch.until(mark, runs=False)
        assert served.answer(get("/count")) == (200, b"0")
    assert served.problems.said == []
