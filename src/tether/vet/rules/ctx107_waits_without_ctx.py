"""CTX107: the chain breaks at a callee that waits and takes no context."""

from __future__ import annotations

from collections.abc import Iterator

from .._file import File
from .._finding import Found, Rule
from .._shapes import is_shutdown


def check(file: File) -> Iterator[Found]:
    """Report calls of functions of the project that block and take no context."""
    for call, function, callee in file.every_call():
        ctx = file.given(function)
        if not ctx or function.name.endswith("<lambda>"):
            continue
        facts = file.facts(callee)
        if facts is None or facts.takes is not None or facts.is_async:
            continue
        if not file.waits(callee) or file.carries(call, function):
            continue
        if is_shutdown(file, call, function):
            continue
        name = callee.rpartition(".")[2]
        yield Found(
            call,
            f"{name}() waits and takes no context, so {ctx} ends here:"
            f" give it ctx as its first parameter",
        )


RULE = Rule(
    code="CTX107",
    name="waits-without-ctx",
    says="a function that waits takes no context, and its caller has one",
    why="""\
A function that can wait takes `ctx` first. Here one of the project does not,
although it (or something that it calls, in whatever file) blocks its thread, so the
caller's deadline ends at this call.""",
    bad="""\
import subprocess
from tether import Context

def convert(path: str) -> None:
    subprocess.run(["convert", path])

def upload(ctx: Context, path: str) -> None:
    convert(path)
""",
    good="""\
import subprocess
from tether import Context

def convert(ctx: Context, path: str) -> None:
    subprocess.run(["convert", path], timeout=min(60, ctx.remaining()))

def upload(ctx: Context, path: str) -> None:
    convert(ctx, path)
""",
    check=check,
)
