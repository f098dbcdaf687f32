"""CTX106: todo() is still there."""

from __future__ import annotations

from collections.abc import Iterator

from .._file import File
from .._finding import Found, Rule


def check(file: File) -> Iterator[Found]:
    """Report each `todo()`."""
    if file.uses_tether:
        for call, _, callee in file.calls("todo"):
            if callee == "tether.todo":
                yield Found(
                    call, "todo() marks a context that is still to be passed in"
                )


RULE = Rule(
    code="CTX106",
    name="todo-left",
    says="a `todo()` stands where a context is still to come",
    why="""\
`todo()` says "a context belongs here and is not there yet". This rule lists them;
turn it on when the code has been moved to contexts.""",
    bad="""\
from tether import todo

def nightly() -> None:
    report(todo())
""",
    good="""\
from tether import Context

def nightly(ctx: Context) -> None:
    report(ctx)
""",
    check=check,
    default=False,
)
