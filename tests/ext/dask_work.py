"""What the tests have done on the workers of a cluster."""

from __future__ import annotations

import asyncio
import os
import time
from itertools import count
from typing import Any

from tests.ext.notes import note
from tether import Context, ContextError, current
from tether.ext import psycopg
from tether.wire import REQUEST_ID


def end(ctx: Context) -> str:
    error = ctx.err()
    assert isinstance(error, ContextError)
    return f"{type(error).__name__}: {ctx.cause()} ({error.detail})"


def wait(ctx: Context, log: str) -> None:
    note(log, f"started by {os.getpid()}")
    try:
        ctx.sleep(600)
    finally:
        note(log, f"stopped: {end(ctx)}")


async def wait_in_a_task(ctx: Context, log: str) -> None:
    note(log, f"started by {os.getpid()}")
    try:
        await asyncio.sleep(600)
    finally:
        note(log, f"stopped: {end(ctx)}")


def compute(ctx: Context, log: str) -> None:
    """For 20 ms."""
    began = time.monotonic_ns()
    note(log, f"started at {began}")
    for _ in ctx.poll(count()):
        if time.monotonic_ns() - began > 20_000_000:
            return


def tell(ctx: Context, what: object) -> tuple[object, float, str | None, str]:
    assert current() is ctx
    return what, ctx.remaining(), ctx.value(REQUEST_ID), ctx.label


async def tell_in_a_task(
    ctx: Context, what: object
) -> tuple[object, float, str | None, str]:
    await asyncio.sleep(0)
    return tell(ctx, what)


def double(ctx: Context, number: int) -> int:
    return 2 * number


def total(ctx: Context, numbers: Any) -> int:
    """Of all numbers in lists, tuples, sets and the values of dicts."""
    if isinstance(numbers, int):
        return numbers
    those = numbers.values() if isinstance(numbers, dict) else numbers
    return sum(total(ctx, one) for one in those)


class Shy:
    """What Dask can take no hash of."""

    def __dask_tokenize__(self) -> None:
        raise RuntimeError("it has none")


def kind(ctx: Context, thing: object) -> str:
    return type(thing).__name__


def trace(ctx: Context) -> int:
    from opentelemetry import trace

    return trace.get_current_span().get_span_context().trace_id


def run_out(ctx: Context) -> None:
    with ctx.with_timeout(0.01) as budget:
        budget.sleep(600)


def fail(ctx: Context) -> None:
    raise LookupError("no such thing")


def die(ctx: Context) -> None:
    os._exit(1)


def query(ctx: Context, url: str, sql: str) -> None:
    import psycopg as driver

    with driver.connect(url) as conn:
        psycopg.execute(ctx, conn, sql)


def fetch(ctx: Context, url: str) -> None:
    from tether.ext import requests

    with requests.Session() as session:
        session.get(ctx, url)


def run_program(ctx: Context, log: str) -> None:
    from tether.ext import subprocess

    subprocess.run(ctx, ["sh", "-c", f"echo started $$ >> {log}; exec sleep 600"])


def load_opentelemetry() -> None:
    import opentelemetry.propagate  # noqa: F401
