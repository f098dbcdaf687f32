"""What to look for and where: `[tool.tether.vet]` and the command line."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

from ._finding import Rule
from .rules import ALL, BROKEN


class UsageError(Exception):
    """The settings or the arguments make no sense; the message says the cure."""


@dataclass(frozen=True)
class Settings:
    """How to run. Paths are relative to `folder`, where pyproject.toml stands."""

    select: tuple[str, ...] = ("default",)
    ignore: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    per_file_ignores: dict[str, tuple[str, ...]] = field(default_factory=dict)
    baseline: str | None = None
    force_exclude: bool = False  # leave out what `exclude` matches even if it is named
    folder: Path = field(default_factory=Path)

    def rules(self) -> tuple[Rule, ...]:
        """The rules that are switched on; what cannot be read is always told."""
        chosen = (expand(self.select) | {BROKEN.code}) - expand(self.ignore)
        return tuple(rule for rule in ALL if rule.code in chosen)


def expand(words: Iterable[str]) -> frozenset[str]:
    """The codes that `CTX301`, `lost-scope`, `CTX3`, `default` and `all` stand for."""
    found: set[str] = set()
    for word in words:
        upper = word.strip().upper()
        if upper == "ALL":
            codes = {rule.code for rule in ALL}
        elif upper == "DEFAULT":
            codes = {rule.code for rule in ALL if rule.default}
        else:
            codes = {
                rule.code
                for rule in ALL
                if (upper.startswith("CTX") and rule.code.startswith(upper))
                or rule.name.upper() == upper
            }
        if not codes:
            raise UsageError(_unknown(word))
        found |= codes
    return frozenset(found)


def rule_of(word: str) -> Rule:
    """One rule, by its code or its name."""
    upper = word.strip().upper()
    for rule in ALL:
        if upper in {rule.code, rule.name.upper()}:
            return rule
    raise UsageError(_unknown(word))


def _unknown(word: str) -> str:
    names = [*(rule.code for rule in ALL), *(rule.name for rule in ALL)]
    close = difflib.get_close_matches(word, names, n=1)
    hint = f"; did you mean {close[0]}?" if close else ""
    return f"there is no rule {word!r}{hint}"


_LISTS = ("select", "ignore", "exclude")
_KNOWN = (*_LISTS, "per-file-ignores", "baseline")


def load(start: Path) -> Settings:
    """The settings of the project around a path; the defaults if it has none.

    A pyproject.toml without settings of ours is that of a part: the search goes on.
    """
    nearest = None
    for folder in (start, *start.parents):
        path = folder / "pyproject.toml"
        if path.is_file():
            nearest = nearest or folder
            table = _table(path)
            if table is not None:
                return _read(path, table)
    default = start if start.is_dir() else start.parent
    return Settings(folder=nearest or default)


def _table(path: Path) -> dict[str, object] | None:
    """[tool.tether.vet] of a file; None if there is none."""
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UsageError(f"{path}: {error}") from None
    for part in ("tool", "tether", "vet"):
        inner = table.get(part)
        if inner is None:
            return None
        if not isinstance(inner, dict):
            raise UsageError(f"{path}: [tool.tether.vet] is a table, not {inner!r}")
        table = inner
    return table


def _read(path: Path, table: dict[str, object]) -> Settings:
    settings = Settings(folder=path.parent)
    where = f"{path}: [tool.tether.vet]"
    for key, value in table.items():
        if key in _LISTS:
            words = _words(f"{where} {key}", value)
            settings = replace(settings, **{key: words})  # type: ignore[arg-type]
        elif key == "per-file-ignores":
            if not isinstance(value, dict):
                raise UsageError(f"{where} {key} is a table of lists, not {value!r}")
            ignores = {
                str(glob): _words(f"{where} {glob}", w) for glob, w in value.items()
            }
            for words in ignores.values():
                expand(words)
            settings = replace(settings, per_file_ignores=ignores)
        elif key == "baseline":
            if not isinstance(value, str):
                raise UsageError(f"{where} baseline is a file's name, not {value!r}")
            settings = replace(settings, baseline=value)
        else:
            raise UsageError(f"{where} knows {', '.join(_KNOWN)}; not {key!r}")
    try:
        settings.rules()
    except UsageError as error:
        raise UsageError(f"{where}: {error}") from None
    return settings


def _words(where: str, value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(v, str) for v in value):
        raise UsageError(f"{where} is a list of strings, not {value!r}")
    return tuple(value)
