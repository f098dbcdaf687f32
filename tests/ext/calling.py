"""The clients under test with one face, so that what holds for all is tested once."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import aiohttp
import httpx
import httpx2
import requests

import tether.ext.aiohttp
import tether.ext.httpx
import tether.ext.requests
from tests.ext.upstream import Authority
from tether import Context

# Of the library's own; far longer than any test lets pass.
LIBRARYS_OWN = 60.0

Get = Callable[[Context, str], bytes]
GetAsync = Callable[[Context, str], Any]


def _httpx(library: Any, authority: Authority) -> Any:
    limits = library.Limits(max_connections=1)
    timeout = library.Timeout(LIBRARYS_OWN)
    return library.Client(verify=authority.client, timeout=timeout, limits=limits)


def _httpx_async(library: Any, authority: Authority) -> Any:
    limits = library.Limits(max_connections=1)
    timeout = library.Timeout(LIBRARYS_OWN)
    return library.AsyncClient(verify=authority.client, timeout=timeout, limits=limits)


def _requests_adapter() -> tether.ext.requests.Adapter:
    return tether.ext.requests.Adapter(pool_maxsize=1, pool_block=True)


IN_THREADS = ["httpx", "httpx2", "requests"]
IN_TASKS = ["httpx", "httpx2", "aiohttp"]


@contextmanager
def client(name: str, authority: Authority) -> Iterator[Get]:
    """Gets a body, by the client that takes a context; one connection in the pool."""
    if name == "requests":
        with tether.ext.requests.Session() as session:
            session.session.mount("http://", _requests_adapter())
            session.session.mount("https://", _requests_adapter())
            yield (
                lambda ctx, url: (
                    session.get(
                        ctx, url, verify=authority.file, timeout=LIBRARYS_OWN
                    ).content
                )
            )
        return
    library: Any = {"httpx": httpx, "httpx2": httpx2}[name]
    with tether.ext.httpx.Client(_httpx(library, authority)) as http:
        yield lambda ctx, url: http.get(ctx, url, follow_redirects=True).content


@contextmanager
def drop_in(name: str, authority: Authority) -> Iterator[Callable[[str], bytes]]:
    """The same by the library's own client, with the part that asks `current()`."""
    if name == "requests":
        with requests.Session() as session:
            session.mount("http://", _requests_adapter())
            session.mount("https://", _requests_adapter())
            yield lambda url: session.get(url, verify=authority.file).content
        return
    library: Any = {"httpx": httpx, "httpx2": httpx2}[name]
    transport: Any = tether.ext.httpx.Transport(
        library.HTTPTransport(
            verify=authority.client, limits=library.Limits(max_connections=1)
        )
    )
    with library.Client(transport=transport, timeout=LIBRARYS_OWN) as http:
        yield lambda url: http.get(url).content


@asynccontextmanager
async def client_async(name: str, authority: Authority) -> AsyncIterator[GetAsync]:
    """As `client`, in a task."""
    if name == "aiohttp":
        connector = aiohttp.TCPConnector(ssl=authority.client, limit=1)
        async with tether.ext.aiohttp.ClientSession(connector=connector) as session:

            async def get(ctx: Context, url: str) -> bytes:
                response = await session.get(ctx, url)
                return await response.read()

            yield get
        return
    library: Any = {"httpx": httpx, "httpx2": httpx2}[name]
    async with tether.ext.httpx.AsyncClient(_httpx_async(library, authority)) as http:

        async def get_httpx(ctx: Context, url: str) -> bytes:
            response: Any = await http.get(ctx, url, follow_redirects=True)
            content: bytes = response.content
            return content

        yield get_httpx


@asynccontextmanager
async def drop_in_async(
    name: str, authority: Authority
) -> AsyncIterator[Callable[[str], Any]]:
    """As `drop_in`, in a task."""
    if name == "aiohttp":
        connector = aiohttp.TCPConnector(ssl=authority.client, limit=1)
        middlewares = (tether.ext.aiohttp.Middleware(),)
        async with aiohttp.ClientSession(
            connector=connector, middlewares=middlewares
        ) as session:

            async def get(url: str) -> bytes:
                async with session.get(url) as response:
                    return await response.read()

            yield get
        return
    library: Any = {"httpx": httpx, "httpx2": httpx2}[name]
    limits = library.Limits(max_connections=1)
    inner = library.AsyncHTTPTransport(verify=authority.client, limits=limits)
    transport: Any = tether.ext.httpx.AsyncTransport(inner)
    async with library.AsyncClient(transport=transport, timeout=LIBRARYS_OWN) as http:

        async def get_httpx(url: str) -> bytes:
            content: bytes = (await http.get(url)).content
            return content

        yield get_httpx


def own_errors(name: str) -> tuple[type[Exception], ...]:
    """What the library raises when a connection fails."""
    return {
        "httpx": (httpx.TransportError,),
        "httpx2": (httpx2.TransportError,),
        "requests": (requests.RequestException,),
        "aiohttp": (aiohttp.ClientError, TimeoutError),
    }[name]
