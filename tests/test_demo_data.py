"""The data of the demo, in SQLite and in PostgreSQL: the same answers, the same ends."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from demo import data
from demo.databases import Database, database
from demo.databases.server import server
from tether import Canceled, background


@pytest.fixture(params=["sqlite", "postgres"])
def shop(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Database]:
    name = tmp_path.name
    where = str(tmp_path / "shop.db")
    if request.param == "postgres":
        where = server().new(name)
    data.create(background(), where, weight=100)
    with closing(database(where)) as opened:
        monkeypatch.setattr(data, "shop_database", lambda: opened)
        yield opened


def test_what_is_there_is_found(shop: Database) -> None:
    with background().with_timeout(60.0) as ctx:
        assert data.find_user(ctx, 7) == {"id": 7, "name": "user 7"}
        assert data.find_user(ctx, 10_000) is None
        product = {"id": 7, "name": "product 7", "price": 799}
        assert data.find_product(ctx, 7) == product
        with pytest.raises(KeyError):
            data.find_product(ctx, 10_000)
        assert data.find_cart(ctx, 3) == data.Cart(3, [4, 5], bytes(100))
        assert data.find_cart(ctx, 10_000) is None
        assert len(data.find_prices(ctx)) == data.PRODUCTS


def test_an_order_is_written_once(shop: Database) -> None:
    with background().with_timeout(60.0) as ctx:
        cart = data.find_cart(ctx, 3)
        assert cart is not None
        for _ in range(2):
            data.save_order(ctx, "o-1", cart)
        rows = shop.fetch_all(ctx, "select id, cart, total from orders")
        assert [tuple(row) for row in rows] == [("o-1", 3, 499 + 599)]


def test_an_order_that_fails_is_not_written(shop: Database) -> None:
    with background().with_timeout(60.0) as ctx:
        with pytest.raises(KeyError):
            data.save_order(ctx, "o-1", data.Cart(3, [4, 10_000], b""))
        with pytest.raises(LookupError), shop.transaction(ctx) as db:
            db.execute(ctx, "insert into payments values (?, ?)", ("p-1", "ann"))
            raise LookupError
        assert shop.fetch_all(ctx, "select * from orders, payments") == []
        data.record_payment(ctx, "p-2", "ann")
        rows = shop.fetch_all(ctx, "select * from payments")
        assert [tuple(row) for row in rows] == [("p-2", "ann")]


def test_nothing_is_asked_for_a_context_that_is_over(shop: Database) -> None:
    ctx = background().with_cancel()
    ctx.cancel()
    with pytest.raises(Canceled):
        data.find_user(ctx, 7)
    with pytest.raises(Canceled):
        data.record_payment(ctx, "p-1", "ann")
    with background().with_timeout(60.0) as live:
        assert shop.fetch_all(live, "select * from payments") == []
