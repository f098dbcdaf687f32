"""Across files: who takes a context, who waits; whatever files were named."""

from __future__ import annotations

from pathlib import Path

import pytest

from tether.vet import Settings, check

FILES = {
    "shop/__init__.py": "from .stock import reserve as reserve\n",
    "shop/stock.py": """
import time
from tether import Context
from .deep import wait_here

def reserve(ctx: Context, item: int) -> None: ...

def optional(item: int, ctx: Context | None = None) -> None: ...

def restock() -> None:
    wait_here()

class Store:
    def take(self, ctx: Context, item: int) -> None: ...
""",
    "shop/deep.py": """
import time

def wait_here() -> None:
    time.sleep(1.0)

def endless() -> None:
    again()

def again() -> None:
    endless()
""",
    "shop/orders.py": """
from tether import Context
import shop
from shop import reserve
from shop.stock import Store, optional, restock
from . import deep, stock
import missing

def order(ctx: Context, store: Store) -> None:
    reserve(1)
    shop.reserve(1)
    stock.reserve(1)
    store.take(1)
    optional(1)
    restock()
    deep.wait_here()
    deep.endless()
    missing.reserve(1)
""",
}


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    for name, text in FILES.items():
        path = tmp_path / "src" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return tmp_path / "src"


def found(paths: list[Path]) -> list[tuple[str, str]]:
    settings = Settings(select=("CTX102", "CTX107"))
    return [(f.text.strip(), f.code) for f in check(paths, settings).findings]


EXPECTED = [
    ("reserve(1)", "CTX102"),
    ("shop.reserve(1)", "CTX102"),
    ("stock.reserve(1)", "CTX102"),
    ("store.take(1)", "CTX102"),
    ("restock()", "CTX107"),
    ("deep.wait_here()", "CTX107"),
]


def test_functions_of_other_files_are_known(shop: Path) -> None:
    assert found([shop]) == EXPECTED


def test_one_changed_file_is_judged_as_in_a_full_run(shop: Path) -> None:
    assert found([shop / "shop" / "orders.py"]) == EXPECTED


def test_the_order_of_files_does_not_matter(shop: Path) -> None:
    files = sorted(shop.rglob("*.py"))
    assert found(files) == found(files[::-1]) == EXPECTED


def test_a_broken_neighbour_answers_nothing(shop: Path) -> None:
    (shop / "shop" / "deep.py").write_text("def wait_here(:\n", encoding="utf-8")
    assert found([shop / "shop" / "orders.py"]) == EXPECTED[:4]


def test_a_package_without_an_init_file_is_followed(tmp_path: Path) -> None:
    for name, text in FILES.items():
        if not name.endswith("__init__.py"):
            path = tmp_path / "src" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
    deep = tmp_path / "src" / "shop" / "api" / "web.py"
    deep.parent.mkdir()
    deep.write_text(
        "from tether import Context\nfrom shop.stock import reserve\n"
        "def order(ctx: Context) -> None:\n    reserve(1)\n",
        encoding="utf-8",
    )
    settings = Settings(select=("CTX102",), folder=tmp_path)
    assert [f.line for f in check([deep], settings).findings] == [4]
