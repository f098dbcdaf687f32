"""Runs the examples: Python blocks of the pages and docstrings of the package.

A block that is not marked as Python (text, console) is not run. The blocks of one
page share their names from top to bottom, and so do the docstrings of one module,
which start with the module's own names. ``<!-- skip: next "reason" -->`` before a
block leaves it out.
"""

from __future__ import annotations

from doctest import ELLIPSIS

import pytest
from _pytest._code.code import Traceback
from sybil import Sybil, example
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

of_example = SybilItem._traceback_filter


def _traceback_filter(
    self: SybilItem, excinfo: pytest.ExceptionInfo[BaseException]
) -> Traceback:
    """What sybil does, where it can: show what comes below its call of the example.

    It is asked for each exception of a chain. A cause that was raised elsewhere, as in
    a finalizer, has no such call, and sybil raises then: pytest ended with an
    INTERNALERROR, and the rest of the run was lost. Its issue 118 and pull request 171.
    """
    whole = excinfo.traceback
    below = whole.cut(path=example.__file__)
    return whole if below is whole or len(below) < 2 else of_example(self, excinfo)


SybilItem._traceback_filter = _traceback_filter  # type: ignore[method-assign]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Undo the random order for examples: one builds on the one above it."""
    examples = [item for item in items if isinstance(item, SybilItem)]
    examples.sort(key=lambda item: (item.path, item.example.line))
    items[:] = [item for item in items if not isinstance(item, SybilItem)]
    items.extend(examples)
