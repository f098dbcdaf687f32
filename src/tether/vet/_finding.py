"""What a rule reports, and what it is made of."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ._file import File

# A line, counted from 1, and a column in UTF-8 bytes from 0: how `ast` counts.
Place = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Edit:
    """A piece of source to be replaced."""

    start: Place
    end: Place
    text: str


@dataclass(frozen=True, slots=True)
class Found:
    """What the check of a rule yields: where, what, and the edits that cure it."""

    node: ast.AST
    message: str
    edits: tuple[Edit, ...] = ()


@dataclass(frozen=True, slots=True)
class Rule:
    """One line of the production checklist, as a program.

    `bad` and `good` are source; the tests hold that the first is reported and the
    second is not. `default` is False for rules that are right but too eager for most
    code bases. A rule looks at files that import tether, unless it is for `everywhere`,
    and not at `tests`, unless it says so.
    """

    code: str
    name: str
    says: str
    why: str
    bad: str
    good: str
    check: Callable[[File], Iterator[Found]]
    default: bool = True
    everywhere: bool = False
    tests: bool = False
    fixable: bool = False


@dataclass(frozen=True, slots=True, order=True)
class Finding:
    """One problem at one place of one file. Lines and columns count from 1."""

    path: str
    line: int
    column: int
    code: str
    name: str
    message: str
    end_line: int
    end_column: int
    text: str  # the source line
    edits: tuple[Edit, ...] = ()


def place(node: ast.AST) -> Place:
    """Where a node begins."""
    return node.lineno, node.col_offset  # type: ignore[attr-defined]


def end(node: ast.AST) -> Place:
    """Where a node ends."""
    return node.end_lineno, node.end_col_offset  # type: ignore[attr-defined]
