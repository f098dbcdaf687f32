"""Go's result of a step beside tether's."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

# The exceptions that stand for a panic.
PANICS = (TypeError, ValueError, RuntimeError)

# Go's text of a panic: the exception that stands for it. Its text is the same.
_TYPES: dict[str, type[Exception]] = {
    "cannot create context from nil parent": TypeError,
    "nil key": TypeError,
    "key is not comparable": TypeError,
}

# The same panic in tether's own words. Go refuses keys that cannot be compared;
# tether refuses every key that is not a `Key`.
_WORDS: dict[str, re.Pattern[str]] = {
    "key is not comparable": re.compile(r"\bKey\b"),
}


@dataclass(frozen=True)
class Raised:
    """A step that raised instead of giving a result."""

    error: Exception

    @property
    def is_panic(self) -> bool:
        """Whether an exception of this type can stand for a panic."""
        return isinstance(self.error, PANICS)

    def stands_for(self, panic: str) -> bool:
        """Whether it is what tether raises where Go panics with that text."""
        if not isinstance(self.error, _TYPES.get(panic, PANICS)):
            return False
        said = str(self.error).split("; ")[0]  # after it tether says the cure
        words = _WORDS.get(panic)
        return said == panic or (words is not None and bool(words.search(said)))

    def __str__(self) -> str:
        return f"raised {type(self.error).__name__}: {self.error}"


@dataclass(frozen=True)
class Difference:
    """A step at which Go and tether differ."""

    step: str
    go: str
    tether: str


def panic_of(expected: object) -> str | None:
    """The text of the panic that Go's result is, if it is one."""
    if isinstance(expected, dict) and set(expected) == {"panic"}:
        return str(expected["panic"])
    return None


def agree(expected: object, result: object) -> bool:
    """Whether Go's result and tether's are the same."""
    if isinstance(result, Raised):
        panic = panic_of(expected)
        return panic is not None and result.stands_for(panic)
    return shown(expected) == shown(result)


def shown(result: object) -> str:
    """A result as text; equal texts are equal results (and true is not 1)."""
    if isinstance(result, Raised):
        return str(result)
    return json.dumps(result, sort_keys=True, ensure_ascii=False)
