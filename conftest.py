"""Runs the examples: Python blocks of the pages and docstrings of the package.

A block that is not marked as Python (text, console) is not run. The blocks of one
page share their names from top to bottom, and so do the docstrings of one module,
which start with the module's own names. ``<!-- skip: next "reason" -->`` before a
block leaves it out.
"""

from __future__ import annotations

from doctest import ELLIPSIS

import pytest
from sybil import Sybil
from sybil.document import PythonDocStringDocument
from sybil.integration.pytest import SybilItem
from sybil.parsers.doctest import DocTestParser
from sybil.parsers.myst import PythonCodeBlockParser, SkipParser

pages = Sybil(
    parsers=[PythonCodeBlockParser(doctest_optionflags=ELLIPSIS), SkipParser()],
    patterns=["README.md", "docs/**/*.md", "docs/*.md"],
    excludes=["docs/_build/**"],
)
docstrings = Sybil(
    parsers=[DocTestParser(optionflags=ELLIPSIS)],
    patterns=["src/tether/*.py", "src/tether/*/*.py", "src/tether/*/*/*.py"],
    document_types={".py": PythonDocStringDocument},
)
pytest_collect_file = (pages + docstrings).pytest()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Undo the random order for examples: one builds on the one above it."""
    examples = [item for item in items if isinstance(item, SybilItem)]
    examples.sort(key=lambda item: (item.path, item.example.line))
    items[:] = [item for item in items if not isinstance(item, SybilItem)]
    items.extend(examples)
