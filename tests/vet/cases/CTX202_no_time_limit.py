"""Clients and calls without a time limit. No tether in sight."""
import smtplib
import socket
import urllib.request
from http.client import HTTPSConnection
from urllib.request import urlopen

import requests

import shop_pb2_grpc

http = requests.Session()


def fetch(url: str) -> bytes:
    return urlopen(url).read()  # error: CTX202


def connect(host: str) -> socket.socket:
    return socket.create_connection((host, 80))  # error: CTX202


def mail(host: str) -> None:
    with smtplib.SMTP(host) as server:  # error: CTX202
        server.noop()


def prices(item: int) -> object:
    return http.get(f"http://prices/{item}")  # error: CTX202


def own_session() -> None:
    with requests.Session() as session:
        session.post("http://prices", json={})  # error: CTX202


def host(name: str) -> object:
    return HTTPSConnection(name)  # error: CTX202


def stub(channel: object) -> None:
    prices = shop_pb2_grpc.PricesStub(channel)
    prices.Get(object())  # error: CTX202


class Shop:
    def __init__(self) -> None:
        self.session = requests.Session()

    def buy(self) -> None:
        self.session.put("http://shop", timeout=None)  # error: CTX202


def metadata(metadata_url: str) -> bytes:
    return urlopen(metadata_url).read()  # error: CTX202


# Right:


def limited(url: str, options: dict[str, float]) -> None:
    urlopen(url, timeout=3.0)
    urlopen(url, None, 3.0)
    urlopen(url, **options)
    urllib.request.urlopen(url, timeout=3.0)
    http.get(url, timeout=(3.0, 10.0))
    socket.create_connection(("shop", 80), 3.0)
    smtplib.SMTP()


def watch(channel: object) -> None:
    prices = shop_pb2_grpc.PricesStub(channel)
    stream = prices.Watch(object())
    prices.Get(object(), timeout=3.0)


def other(session: object) -> None:
    session.get("http://shop")


def ruff_says_so(url: str) -> None:
    requests.get(url)


def parse_data_url(url: str) -> bytes:
    return urlopen(url).read()


def decode(url: str) -> bytes:
    if not url.startswith("data:"):
        raise ValueError(url)
    return urlopen(url).read()


if __name__ == "__main__":
    print(urlopen("http://shop/version").read())

    def update() -> None:
        smtplib.SMTP("mail")
