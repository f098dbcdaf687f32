"""Blocking requests without the context."""
import urllib.request

import httpx
import httpx2
import requests

import shop_pb2_grpc

from tether import Context, current
from tether.ext.requests import Session

http = requests.Session()


def prices(ctx: Context, item: int) -> object:
    return requests.get(f"http://prices/{item}", timeout=10)  # error: CTX206


def stock(ctx: Context) -> object:
    return http.post("http://stock", timeout=3.0)  # error: CTX206


def client(ctx: Context, http: httpx.Client) -> object:
    return http.get("http://stock")  # error: CTX206


def newer(ctx: Context) -> object:
    return httpx2.get("http://stock")  # error: CTX206


def plain(ctx: Context) -> bytes:
    return urllib.request.urlopen("http://stock", timeout=3.0).read()  # error: CTX206


def call_out(ctx: Context, channel: object) -> object:
    stub = shop_pb2_grpc.PricesStub(channel)
    return stub.Get(object(), timeout=3.0)  # error: CTX206


# Right:


def call_out_bounded(ctx: Context, channel: object) -> object:
    stub = shop_pb2_grpc.PricesStub(channel)
    return stub.Get(object(), timeout=min(3.0, ctx.remaining()))


def bounded(ctx: Context) -> None:
    requests.get("http://prices", timeout=min(10.0, ctx.remaining()))
    left = min(10.0, ctx.remaining())
    requests.get("http://prices", timeout=left)
    requests.get("http://prices", timeout=current().remaining())
    with ctx.interrupting(http.close):
        http.get("http://prices", timeout=3.0)


def by_ours(ctx: Context, shop: Session) -> None:
    shop.get(ctx, "http://stock")


def no_ctx() -> None:
    requests.get("http://prices", timeout=10)


async def in_a_task(ctx: Context, http: httpx.AsyncClient) -> None:
    await http.get("http://prices")  # the block interrupts it
