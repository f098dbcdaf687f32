"""Runs the examples: Python blocks of the pages and docstrings of the package.

A block that is not marked as Python (text, console) is not run. The blocks of one
page share their names, from top to bottom.
"""

from __future__ import annotations

import pytest
from sybil import Sybil
from sybil.parsers.doctest import DocTestParser
from sybil.parsers.myst import PythonCodeBlockParser, SkipParser
from sybil.python import import_cleanup  # noqa: F401
