"""What users may import, and that all of it is documented."""

from __future__ import annotations

import pkgutil
import re
import subprocess
import sys
from pathlib import Path

import pytest

import tether

ROOT = Path(__file__).parents[1]
PUBLIC_MODULES = {"cli", "debug", "ext", "signals", "testing", "vet", "wire"}

REFERENCE = (ROOT / "docs" / "reference" / "core.md").read_text(encoding="utf-8")
DOCUMENTED = re.findall(
    r"auto(?:class|exception|function):: (\w+)$", REFERENCE, re.MULTILINE
)


def test_all_is_sorted() -> None:
    assert sorted(tether.__all__) == list(tether.__all__)


def test_all_is_what_the_reference_documents() -> None:
    assert sorted(DOCUMENTED) == sorted(tether.__all__)


@pytest.mark.parametrize("name", DOCUMENTED)
def test_everything_public_has_a_docstring(name: str) -> None:
    assert getattr(tether, name).__doc__


def test_no_module_is_public_by_accident() -> None:
    modules = {module.name for module in pkgutil.iter_modules(tether.__path__)}
    assert {name for name in modules if not name.startswith("_")} <= PUBLIC_MODULES


def test_no_other_name_is_public() -> None:
    # In a process of its own: here, modules that tests imported are attributes too.
    code = "import tether; print(*(n for n in vars(tether) if n[0] != '_'))"
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert set(answer.stdout.split()) - PUBLIC_MODULES == set(tether.__all__)
