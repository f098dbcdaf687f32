"""Services in the values."""
import logging
import sqlite3

from psycopg_pool import ConnectionPool
from tether import Context, Key
from tether.ext.httpx import AsyncClient

THING: Key[object] = Key("thing")
REQUEST_ID: Key[str] = Key("request-id")
log = logging.getLogger("shop")


def serve(ctx: Context, settings: object, user_id: str) -> None:
    page(ctx.with_value(THING, sqlite3.connect("shop.db")))  # error: CTX603
    page(ctx.with_value(THING, settings))  # error: CTX603
    page(ctx.with_value(THING, lambda: 1))  # error: CTX603
    page(ctx.with_value(THING, serve))  # error: CTX603


def clients(ctx: Context, http: AsyncClient, pool: ConnectionPool) -> None:
    page(ctx.with_value(THING, http))  # error: CTX603
    page(ctx.with_value(THING, pool))  # error: CTX603


def typed(ctx: Context, options: "shop.AppSettings", user: "shop.User") -> None:
    page(ctx.with_value(THING, options))  # error: CTX603
    page(ctx.with_value(THING, user))


class App:
    def handle(self, ctx: Context) -> None:
        page(ctx.with_value(THING, self.db))  # error: CTX603


# Right:


def fine(ctx: Context, user_id: str, client_id: str) -> None:
    page(ctx.with_value(REQUEST_ID, user_id))
    page(ctx.with_value(REQUEST_ID, client_id))
    page(ctx.with_value(REQUEST_ID, "7"))
