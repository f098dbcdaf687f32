"""Files: which ones, their text, their name as a module, the comments in them."""

from __future__ import annotations

import ast
import io
import os
import re
import sys
import tokenize
import warnings
from collections.abc import Iterable, Iterator
from fnmatch import fnmatch
from pathlib import Path

SKIPPED = frozenset(
    {"__pycache__", "node_modules", "venv", "build", "dist", "_build", "site-packages"}
)


RUNNING = f"{sys.version_info.major}.{sys.version_info.minor}"
_TEST = re.compile(r"(^|/)tests?/|(^|/)(test_[^/]*|[^/]*_test|conftest)\.py$")


class SourceError(Exception):
    """A file cannot be read or is not Python; `line` says where."""

    def __init__(self, message: str, line: int = 1, column: int = 1) -> None:
        super().__init__(message)
        self.line = line
        self.column = column


def is_test(path: str) -> bool:
    """Whether a path, as seen from the project, is that of test code."""
    return bool(_TEST.search(path))


def discover(
    paths: Iterable[Path], exclude: Iterable[str], base: Path, *, named: bool = False
) -> Iterator[Path]:
    """The Python files in folders, in order, and the files that were named.

    Hidden folders, environments and what `exclude` matches (the name, or the path from
    the folder `base`) are left out; what was named itself only if `named` says so.
    """
    patterns = tuple(pattern.rstrip("/") for pattern in exclude)
    for path in paths:
        if named and _is_excluded_somewhere(path, base, patterns):
            continue
        if not path.is_dir():
            yield path
            continue
        todo = [path]
        while todo:
            folder = todo.pop()
            try:
                inside = sorted(folder.iterdir(), key=lambda p: p.name)
            except OSError:
                yield folder  # to be reported as one that cannot be read
                continue
            for child in inside:
                if patterns and _is_excluded(child, base, patterns):
                    continue
                if child.suffix == ".py" and child.is_file():
                    yield child
                elif (
                    not child.name.startswith(".")
                    and child.name not in SKIPPED
                    and child.is_dir()
                    and not child.is_symlink()
                    and not (child / "pyvenv.cfg").exists()
                ):
                    todo.append(child)


def relative(path: Path, base: Path) -> str:
    """A path as seen from the project: what stands above it means nothing."""
    full, folder = path.absolute(), base.absolute()
    if ".." in full.parts:
        full = Path(os.path.normpath(full))
    inside = full.relative_to(folder) if full.is_relative_to(folder) else full
    return inside.as_posix()


def _is_excluded(path: Path, base: Path, patterns: tuple[str, ...]) -> bool:
    inside = relative(path, base)
    return any(fnmatch(path.name, one) or fnmatch(inside, one) for one in patterns)


def _is_excluded_somewhere(path: Path, base: Path, patterns: tuple[str, ...]) -> bool:
    """Whether it, or a folder that it is in, is excluded."""
    full = path.absolute()
    above = (up for up in full.parents if up.is_relative_to(base.absolute()))
    return any(_is_excluded(one, base, patterns) for one in (full, *above))


def read(path: Path) -> tuple[str, ast.Module]:
    """The text and the tree of a file."""
    try:
        if path.exists() and not path.is_file():
            raise SourceError("cannot be read: it is not a file")  # a pipe would hang
        data = path.read_bytes()
    except OSError as error:
        raise SourceError(f"cannot be read: {error.strerror}") from None
    try:
        text, _ = decode(data)
    except (SyntaxError, UnicodeDecodeError, LookupError) as error:
        raise SourceError(f"cannot be decoded: {error}") from None
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # "\d" in other people's strings
            return text, ast.parse(text)
    except SyntaxError as error:
        raise SourceError(
            f"is not valid Python {RUNNING}: {error.msg}",
            error.lineno or 1,
            error.offset or 1,
        ) from None
    except (ValueError, RecursionError, MemoryError) as error:
        raise SourceError(f"cannot be parsed: {error}") from None


def decode(data: bytes) -> tuple[str, str]:
    """The text of a file, without a byte order mark, and its encoding."""
    encoding, _ = tokenize.detect_encoding(io.BytesIO(data).readline)
    return data.decode(encoding), encoding


def module_name(path: Path) -> tuple[Path, str]:
    """The folder that imports start from, and the name under which this is imported."""
    full = path.absolute()
    parts = [] if full.name == "__init__.py" else [full.stem]
    folder = full.parent
    while (folder / "__init__.py").exists() and folder.name.isidentifier():
        parts.append(folder.name)
        folder = folder.parent
    return folder, ".".join(reversed(parts))


def comments(text: str) -> dict[int, str]:
    """The comment of each line that has one."""
    found = {}
    try:
        for token in tokenize.generate_tokens(io.StringIO(text).readline):
            if token.type == tokenize.COMMENT:
                found[token.start[0]] = token.string
    except (tokenize.TokenError, SyntaxError):  # pragma: no cover - it was parsed
        pass
    return found
