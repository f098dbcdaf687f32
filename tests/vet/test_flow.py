"""The ways through a function: which lines can be the last before it is left."""

from __future__ import annotations

import ast
import textwrap

import pytest

from tether.vet._flow import Flow, Step


def leak(body: str) -> str:
    """How `start()` leads out without `stop()`: "line returns", "line raises" or ""."""
    tree = ast.parse("def f():\n" + textwrap.indent(textwrap.dedent(body).strip(), " "))
    function = tree.body[0]
    assert isinstance(function, ast.FunctionDef)
    flow = Flow(function.body)

    def calls(step: Step, name: str) -> bool:
        return any(
            isinstance(part, ast.Name) and part.id == name
            for parts in step.parts
            for part in ast.walk(parts)
        )

    start = next(
        node
        for node in flow.steps
        if any(calls(step, "start") for step in flow.steps[node])
    )
    found = flow.leak(start, lambda step: calls(step, "stop"))
    if found is None:
        return ""
    last, out = found
    line = getattr(last.node, "lineno", 0) - 1
    return f"{line} {'returns' if out is flow.left else 'raises'}"


@pytest.mark.parametrize(
    ("body", "how"),
    [
        ("start()\nstop()", ""),
        ("start()", "1 returns"),
        ("start()\nx = 1\nstop()", ""),
        ("start()\nwork()\nstop()", "2 raises"),
        ("start()\nassert x\nstop()", "2 raises"),
        ("start()\nraise E", "2 raises"),
        ("start()\nif x:\n return\nstop()", "3 returns"),
        ("start()\nif x:\n stop()\nelse:\n stop()", ""),
        ("start()\nif x:\n stop()", "2 returns"),
        ("start()\ntry:\n work()\nfinally:\n stop()", ""),
        ("start()\ntry:\n return work()\nfinally:\n stop()", ""),
        ("start()\ntry:\n work()\nexcept E:\n pass\nstop()", "3 raises"),
        ("start()\ntry:\n work()\nexcept:\n pass\nstop()", ""),
        ("start()\ntry:\n work()\nexcept (A, BaseException):\n pass\nstop()", ""),
        ("start()\ntry:\n work()\nexcept E:\n stop()\nelse:\n stop()", "3 raises"),
        ("start()\ntry:\n work()\nexcept:\n stop()\n raise\nelse:\n stop()", ""),
        ("for x in y:\n start()\n if x:\n  break\n stop()", "4 returns"),
        ("for x in y:\n start()\n if x:\n  continue\n stop()", "1 returns"),
        ("for x in y:\n try:\n  start()\n  break\n finally:\n  stop()", ""),
        ("while True:\n start()\n stop()", ""),
        ("start()\nwhile True:\n pass", ""),
        ("start()\nwhile True:\n if x:\n  break\nstop()", ""),
        ("start()\nwhile x:\n stop()\n return", "2 returns"),
        ("start()\nfor x in y:\n pass\nelse:\n stop()", ""),
        ("start()\nwith a:\n x = 1\nstop()", "2 raises"),
        ("start()\nwith suppress(E):\n work()\nstop()", "3 raises"),
        ("start()\nwith suppress(E):\n stop()", ""),
        ("start()\nmatch x:\n case 1:\n  stop()\n case _:\n  stop()", ""),
        ("start()\nmatch x:\n case 1:\n  stop()\n case 2:\n  stop()", "2 returns"),
        ("start()\ntry:\n try:\n  work()\n finally:\n  x = 1\nfinally:\n stop()", ""),
        ("start()\ntry:\n try:\n  work()\n finally:\n  stop()\nfinally:\n x = 1", ""),
        ("start()\ndef g():\n work()\nstop()", ""),
        ("start()\nx = lambda: work()\nstop()", ""),
    ],
)
def test_ways_out(body: str, how: str) -> None:
    assert leak(body) == how


def test_a_long_chain_of_elif_is_no_depth() -> None:
    text = "start()\nif x == 0:\n pass\n"
    text += "".join(f"elif x == {number}:\n pass\n" for number in range(1500))
    assert leak(text + "else:\n work()\nstop()").endswith("raises")


def test_many_nested_blocks_do_not_explode() -> None:
    text = "start()\n"
    for depth in range(12):
        text += " " * depth + "try:\n"
    text += " " * 12 + "work()\n"
    for depth in reversed(range(12)):
        text += " " * depth + "finally:\n" + " " * depth + " x = 1\n"
    assert leak(text + "stop()").endswith("raises")
