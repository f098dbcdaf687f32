"""tether's own names: what takes a context first, and what makes others obey one.

By name, since the linter imports nothing. A test holds the first table to the
signatures of what there is.
"""

from __future__ import annotations

import re

from ._file import File

_VERBS = "request get options head post put patch delete"
_HTTPX = f"{_VERBS} build_request send stream"
_ASKS = "execute fetch_all fetch_one"
TAKES_CTX: frozenset[str] = frozenset(
    f"{owner}.{name}"
    for owner, names in {
        "tether": "to_thread wait_for wait_for_async",
        "tether.Queue": "each get get_async put put_async",
        "tether.Semaphore": "acquire acquire_async held",
        "tether.WaitGroup": "drain drain_async go_with try_go_with",
        "tether.signals": "with_signals",
        "tether.wire.Arrived": "onto",
        "tether.wire.Outbound": "write",
        "tether.ext.aiohttp.ClientSession": _VERBS,
        "tether.ext.asyncpg": f"{_ASKS} guard transaction",
        "tether.ext.celery": "call send wait",
        "tether.ext.dask": "gather gather_async map submit",
        "tether.ext.django": "guard transaction",
        "tether.ext.grpc": "call call_async stream stream_async",
        "tether.ext.httpx.AsyncClient": _HTTPX,
        "tether.ext.httpx.Client": _HTTPX,
        "tether.ext.otel": "note span",
        "tether.ext.psycopg": f"{_ASKS} execute_async fetch_all_async fetch_one_async"
        " guard transaction",
        "tether.ext.redis": "call call_async",
        "tether.ext.requests.Session": _VERBS,
        "tether.ext.sqlalchemy": "execute execute_async guard transaction",
        "tether.ext.sqlite": f"{_ASKS} execute_async fetch_all_async fetch_one_async"
        " guard",
        "tether.ext.subprocess": "run run_async",
    }.items()
    for name in names.split()
)

# The module of ours for a library, where there is one.
EXT: dict[str, str] = {
    "aiosqlite": "sqlite",
    "psycopg": "psycopg",
    "psycopg_pool": "psycopg",
    "redis": "redis",
    "sqlalchemy": "sqlalchemy",
    "sqlite3": "sqlite",
}
# What makes a client, an engine or a session of theirs obey `current()`.
_OBEYS = {
    "httpx": ("httpx", "Transport"),
    "httpx2": ("httpx", "Transport"),
    "redis": ("redis", "follow"),
    "requests": ("requests", "Adapter"),
    "sqlalchemy": ("sqlalchemy", "attach"),
}


def obeys(file: File, library: str) -> bool:
    """Whether the project makes a library obey `current()`, in whatever file."""
    if library not in _OBEYS:
        return False
    module, name = _OBEYS[library]
    made = re.compile(rf"tether\.ext(\.| import ){module}\b[\s\S]*\b{name}\(")
    return bool(made.search(file.module.text)) or file.project.has(file.root, made)
