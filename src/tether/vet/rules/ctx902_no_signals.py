"""CTX902: a program whose root no signal cancels."""

from __future__ import annotations

from collections.abc import Iterator

from .._file import File
from .._finding import Found, Rule

# Of ours: what stops by a signal.
_STOPS = frozenset({"tether.ext.asgi.Service", "tether.ext.uvicorn.serve"})


def check(file: File) -> Iterator[Found]:
    """Report `asyncio.run` in files that make their root and know no signals."""
    known = {"with_signals", "add_signal_handler", "signal"} & set(file.module.calls)
    known |= {c for _, _, c in file.calls("serve", "Service") if c in _STOPS}
    roots = [c for _, _, c in file.calls("background") if c == "tether.background"]
    if known or not roots:
        return
    for call, _, callee in file.calls("run"):
        if callee == "asyncio.run":
            yield Found(
                call,
                "SIGTERM ends this program in the middle of its work: use"
                " tether.run(main), which cancels the root and waits",
            )


RULE = Rule(
    code="CTX902",
    name="no-signals",
    says="a program makes its root and lets SIGTERM kill it",
    why="""\
At shutdown the root is canceled, requests in flight and workers are waited for, and
that waiting has a deadline of its own: `tether.run(main, drain=30.0)`. Off by
default: a script may die.""",
    bad="""\
import asyncio
from tether import background

async def main() -> None:
    await serve(background())

asyncio.run(main())
""",
    good="""\
import tether
from tether import Context

async def main(ctx: Context) -> None:
    await serve(ctx)

tether.run(main)
""",
    check=check,
    default=False,
)
