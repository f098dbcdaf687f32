"""CTX206: a blocking call to the net without the context at hand."""

from __future__ import annotations

from collections.abc import Iterator

from .._file import File
from .._finding import Found, Rule
from .._function import Function
from .._ours import obeys
from .._shapes import is_shutdown
from .._waits import CALLS

_METHODS = sorted({name.rpartition(".")[2] for name in CALLS})


def check(file: File) -> Iterator[Found]:
    """Report blocking HTTP calls in functions that were given a context."""
    grpc = "_pb2_grpc" in file.module.text
    for call, function, callee in file.every_call() if grpc else file.calls(*_METHODS):
        if callee not in CALLS and not (grpc and _is_stub(callee, function)):
            continue
        ctx = file.given(function)
        if not ctx or file.carries(call, function):
            continue
        if is_shutdown(file, call, function):
            continue
        library = callee.partition(".")[0]
        kept = ".Session." in callee or ".Client." in callee
        if kept and obeys(file, library):
            continue  # it may have our transport
        yield Found(
            call,
            f"this request does not know {ctx}: pass"
            f" timeout=min(10.0, {ctx}.remaining()), or use a client that takes {ctx}",
        )


def _is_stub(callee: str, function: Function) -> bool:
    """A call of a gRPC stub that blocks; in a task the block interrupts it."""
    service, _, method = callee.rpartition(".")
    named = "_pb2_grpc." in service and service.endswith("Stub")
    return named and method[:1].isupper() and not function.is_async


RULE = Rule(
    code="CTX206",
    name="http-without-ctx",
    says="a blocking call to the net does not carry the context at hand",
    why="""\
A fixed timeout is longer than what the request has left, and `requests` and `httpx`
count it anew for each read: a server that drips holds the thread for good. Every
outgoing request carries the context. Silent where the project gives its clients the
`Transport` of `tether.ext.httpx` or the `Adapter` of `tether.ext.requests`: those obey
`current()`.""",
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
