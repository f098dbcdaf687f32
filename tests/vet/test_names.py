"""What names mean, without importing anything."""

from __future__ import annotations

import ast

import pytest

from tether.vet._function import Function
from tether.vet._module import Module
from tether.vet._names import Names


def parse(text: str, name: str = "shop.users") -> tuple[Module, Names]:
    module = Module("shop/users.py", name, text, ast.parse(text))
    return module, Names(module)


def callees(text: str) -> list[str]:
    """The full names of what is called, in the order of the source."""
    module, names = parse(text)
    calls: list[tuple[ast.Call, Function]] = [
        found for many in module.calls.values() for found in many
    ]
    calls.sort(key=lambda found: (found[0].lineno, found[0].col_offset))
    return [names.callee(call, function) for call, function in calls]


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("import asyncio\nasyncio.sleep(1)", "asyncio.sleep"),
        ("import asyncio as aio\naio.sleep(1)", "asyncio.sleep"),
        ("from asyncio import sleep as nap\nnap(1)", "asyncio.sleep"),
        ("import urllib.request\nurllib.request.urlopen(1)", "urllib.request.urlopen"),
        ("from .stock import reserve\nreserve()", "shop.stock.reserve"),
        ("from . import stock\nstock.reserve()", "shop.stock.reserve"),
        ("from ..lib import x\nx()", "lib.x"),
        ("print()", "print"),
        ("def f(): ...\nf()", "shop.users.f"),
        ("import os\ndef f(os): os.getcwd()", ""),
        ("import os\nos = other\nos.getcwd()", ""),
        ("try:\n import ujson as j\nexcept E:\n j = None\nj.loads()", "ujson.loads"),
        ("try:\n import a as j\nexcept E:\n import b as j\nj.loads()", ""),
        ("import os\nfor os in x: os.getcwd()", ""),
        ("from queue import *\nQueue()", "Queue"),
    ],
)
def test_a_callee_is_named_by_its_imports(source: str, name: str) -> None:
    assert callees(source)[-1] == name


@pytest.mark.parametrize(
    "source",
    [
        "import queue\nq = queue.Queue()\nq.get()",
        "import queue\nq: queue.Queue[int] = make()\nq.get()",
        "import queue\nq: 'queue.Queue[int] | None' = None\nq.get()",
        "from queue import Queue\ndef f(q: Queue): q.get()",
        "from queue import Queue\nfrom typing import Optional\ndef f(q: Optional[Queue]):\n q.get()",
        "from queue import Queue\ndef f():\n q = Queue[int](3)\n def g(): q.get()",
        "from queue import Queue\ndef make() -> Queue: ...\nq = make()\nq.get()",
        "from queue import Queue\ndef f(x):\n q = x or Queue()\n q = Queue()\n q.get()".replace(
            "x or ", ""
        ),
        "from queue import Queue\ndef f(x):\n with Queue() as q: q.get()",
        "from queue import Queue\nclass C:\n def __init__(self):\n  self.q = Queue()\n def f(self): self.q.get()",
        "from queue import Queue\nclass C:\n q: Queue\n def f(self):\n  def g(): self.q.get()",
        "from queue import Queue\nif (q := Queue()): q.get()",
        "from queue import Queue\na, q = 1, Queue()\nq.get()",
        "from queue import Queue\nQueue().get()",
        "from queue import Queue\nq = None\ndef f():\n global q\n q = Queue()\n q.get()",
    ],
)
def test_a_kind_comes_from_constructor_or_annotation(source: str) -> None:
    assert "queue.Queue.get" in callees(source)


@pytest.mark.parametrize(
    "source",
    [
        "from queue import Queue\nq = Queue()\nq = other()\nq.get()",
        "from queue import Queue\ndef f(q: Queue | Other): q.get()",
        "from queue import Queue\nq = Queue()\ndef f(q): q.get()",
        "from queue import Queue\nq = Queue()\ndef f():\n global q\n q = 1\nq.get()",
        "q.get()",
        "a = b\nb = a\na.get()",
    ],
)
def test_where_bindings_differ_nothing_is_said(source: str) -> None:
    assert callees(source)[-1] in {"", "q.get"}


@pytest.mark.parametrize(
    ("source", "is_one"),
    [
        ("from tether import Context\ndef f(ctx: Context): g(ctx)", True),
        ("from tether import Scope\ndef f(work: 'Scope | None'): g(work)", True),
        ("import tether\ndef f(ctx): g(ctx)", True),
        ("import tether, click\ndef f(ctx): g(ctx)", False),
        ("import click\ndef f(ctx): g(ctx)", False),
        ("from tether import background\ng(background())", True),
        ("from tether import current\ndef f():\n c = current()\n g(c)", True),
        ("import tether\ndef f(x):\n with x.with_timeout(1) as c: g(c)", True),
        ("import tether\ndef f(x): g(x.ctx)", True),
        ("def f(x):\n with x.with_timeout(1) as c: g(c)", False),
        ("from tether import Context\ndef f(user: str): g(user)", False),
    ],
)
def test_what_is_a_context(source: str, is_one: bool) -> None:
    module, names = parse(source)
    [(call, function)] = module.calls["g"]
    assert names.is_context(call.args[0], function) is is_one


def test_ten_thousand_terms_are_walked() -> None:
    text = "x = " + " + ".join(["f(1)"] * 900)
    module, _ = parse(text)
    assert len(module.calls["f"]) == 900
