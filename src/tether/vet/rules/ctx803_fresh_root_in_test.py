"""CTX803: a test makes a root beside the context it was given."""

from __future__ import annotations

from collections.abc import Iterator

from .._file import File
from .._finding import Edit, Found, Rule, end, place
from .._shapes import is_shutdown


def check(file: File) -> Iterator[Found]:
    """Report `background()` in tests that take a context."""
    if not file.module.is_test:
        return
    for call, function, callee in file.calls("background", "todo"):
        if callee not in {"tether.background", "tether.todo"}:
            continue
        name = function.name.rpartition(".")[2]
        params = file.names.context_params(function)
        if not name.startswith("test") or not params:
            continue
        if is_shutdown(file, call, function):
            continue
        ctx = params[0].arg
        yield Found(
            call,
            f"this root ends with nothing, so the leak check cannot tell whose it is:"
            f" derive from {ctx}",
            (Edit(place(call), end(call), ctx),),
        )


RULE = Rule(
    code="CTX803",
    name="fresh-root-in-test",
    says="a test that was given a context makes a root of its own",
    why="""\
A test's context ends with the test, and what is left under it is a leak with a name.
Under `background()` the same work is left over silently. In clean-up code a root of
its own is right, and not reported.""",
    bad="""\
from tether import Context, background

def test_total(ctx: Context) -> None:
    assert total(background()) == 3
""",
    good="""\
from tether import Context

def test_total(ctx: Context) -> None:
    assert total(ctx) == 3
""",
    check=check,
    tests=True,
    fixable=True,
)
