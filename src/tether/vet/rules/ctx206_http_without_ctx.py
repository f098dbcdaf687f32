"""CTX206: a blocking call to the net without the context at hand."""

from __future__ import annotations

from collections.abc import Iterator

from .._file import File
from .._finding import Found, Rule
from .._shapes import is_shutdown
from .._waits import CALLS

_METHODS = sorted({name.rpartition(".")[2] for name in CALLS})


def check(file: File) -> Iterator[Found]:
    """Report blocking HTTP calls in functions that were given a context."""
    for call, function, callee in file.calls(*_METHODS):
        if callee not in CALLS:
            continue
        ctx = file.given(function)
        if not ctx or file.carries(call, function):
            continue
        if is_shutdown(file, call, function):
            continue
        yield Found(
            call,
            f"this request does not know {ctx}: pass"
            f" timeout=min(10.0, {ctx}.remaining()), or use a client that takes {ctx}",
        )


RULE = Rule(
    code="CTX206",
    name="http-without-ctx",
    says="a blocking call to the net does not carry the context at hand",
    why="""\
A fixed timeout is longer than what the request has left, and `requests` and `httpx`
count it anew for each read: a server that drips holds the thread for good. Every
outgoing request carries the context.""",
    bad="""\
import requests
from tether import Context

def prices(ctx: Context, item: int) -> object:
    return requests.get(f"http://prices/{item}", timeout=10).json()
""",
    good="""\
import requests
from tether import Context

def prices(ctx: Context, item: int) -> object:
    left = min(10.0, ctx.remaining())
    return requests.get(f"http://prices/{item}", timeout=left).json()
""",
    check=check,
)
