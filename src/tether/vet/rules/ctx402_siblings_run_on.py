"""CTX402: `gather` lets the siblings run on after the first error."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from .._file import File
from .._finding import Found, Rule


def check(file: File) -> Iterator[Found]:
    """Report `asyncio.gather` of calls, without `return_exceptions`."""
    for call, _, callee in file.calls("gather"):
        if callee != "asyncio.gather" or len(call.args) < 2:
            continue
        if any(given.arg == "return_exceptions" for given in call.keywords):
            continue
        if not all(isinstance(arg, ast.Call) for arg in call.args):
            continue
        yield Found(
            call,
            "after the first error the others run on, and nobody waits for them:"
            " use a group",
        )


RULE = Rule(
    code="CTX402",
    name="siblings-run-on",
    says="with `gather`, the other calls run on when one fails",
    why="""\
`asyncio.gather` raises the first error and forgets the rest: they go on, with their
queries and connections, and what they raise later is lost. A group ends and awaits
them. Off by default: where the calls are short, it hardly matters.""",
    bad="""\
import asyncio

async def page() -> None:
    await asyncio.gather(load_user(), load_cart())
""",
    good="""\
import asyncio

async def page() -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(load_user())
        group.create_task(load_cart())
""",
    check=check,
    everywhere=True,
    default=False,
)
