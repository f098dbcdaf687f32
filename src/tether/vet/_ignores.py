"""Comments that switch a finding off in their line.

    # noqa                              everything, as other linters have it
    # noqa: CTX301, E501                these codes
    # tether: ignore[lost-scope] why    by name or code; the reason follows

A comment counts for findings that begin or end in its line.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from ._source import comments

_CODES = r"[A-Z]+[0-9]+(?:[\s,]+[A-Z]+[0-9]+)*"
_NOQA = re.compile(rf"#\s*noqa\b(?P<colon>\s*:)?\s*(?P<codes>{_CODES})?", re.IGNORECASE)
_OURS = re.compile(r"#\s*tether:\s*ignore\[(?P<names>[^\]]*)\]")


@dataclass(slots=True)
class Ignore:
    """One suppression: the words in it (empty: all), and which of them matched."""

    line: int
    words: tuple[str, ...]
    used: set[str]
    is_ours: bool = False

    def takes(self, code: str, name: str) -> bool:
        """Whether it is meant for this rule; remembers that it was needed."""
        if not self.words:
            return True
        for word in self.words:
            if word.upper() in {code, name.upper()}:
                self.used.add(word)
                return True
        return False


def ignores(text: str) -> list[Ignore]:
    """All suppressions of a file."""
    if "noqa" not in text and "NOQA" not in text and "tether:" not in text:
        return []
    found = []
    for line, comment in comments(text).items():
        for match in _OURS.finditer(comment):
            words = tuple(w.strip() for w in match["names"].split(",") if w.strip())
            if words:
                found.append(Ignore(line, words, set(), is_ours=True))
        for match in _NOQA.finditer(comment):
            if match["colon"] and match["codes"]:
                codes = re.split(r"[\s,]+", match["codes"])
                found.append(Ignore(line, tuple(codes), set()))
            elif not match["colon"]:
                found.append(Ignore(line, (), set()))
    return found
