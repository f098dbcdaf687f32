"""Who holds whom: which contexts must be in memory, and which may no longer be.

What a context is derived from, it holds. What hangs on a context (a function) refers
to it and is known to it, and to all above it that can end it; and so is each scope that
was made directly below a user's context, from its birth to its end. A timer knows what
hangs on a context that the clock ends. Nothing else is held by anybody.

So what is dropped is freed at once, unless something that hangs on it, or below it, can
still be told: then it is kept. If nobody is left who could tell, it is a cycle, which
lingers until the collector comes.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

from tests.model.reference import CANCELABLE, SEPARATE, Ref, World


def path(ref: Ref) -> list[Ref]:
    """The context and all above it, from the leaf up, without the root."""
    found = []
    while ref.parent is not None:
        found.append(ref)
        ref = ref.parent
    return found


def above(ref: Ref) -> list[Ref]:
    """The scopes whose end is the end of this context, the nearest first."""
    found = []
    for one in path(ref):
        if one.kind in SEPARATE:
            break
        if one.kind == CANCELABLE:
            found.append(one)
    return found


@dataclass(frozen=True)
class Ender:
    """Where what waits for the end of a context hangs."""

    holds: Ref  # the context that whatever hangs there refers to
    teller: Ref  # the one that knows it

    @property
    def is_scope(self) -> bool:
        return self.teller.kind == CANCELABLE


def ender(ref: Ref | None) -> Ender | None:
    """The nearest scope, else the user's context that ends it; None: nothing can."""
    users: Ref | None = None
    while ref is not None:
        if ref.kind == CANCELABLE:
            return Ender(ref, ref)
        if ref.kind in {"wrapper", "own"} and users is None:
            users = ref  # the nearest one speaks for what is above it
        if ref.kind == "own":
            assert users is not None
            return Ender(users, ref)
        if ref.kind in SEPARATE:
            break
        ref = ref.parent
    return None


@dataclass(frozen=True)
class Memory:
    """What is in memory: held, or only until the collector comes."""

    held: set[Ref]
    lingering: set[Ref]


def memory(world: World, refs: Iterable[Ref], roots: Iterable[Ref]) -> Memory:
    """What is left of `refs` if the program refers to `roots`."""
    refs, roots = set(refs), set(roots)
    links = {ref: {*path(ref)[1:2]} for ref in refs}
    cycles: set[Ref] = set()

    def hang(holds: Ref, teller: Ref) -> None:
        cycles.add(holds)
        links[teller].add(holds)

    # Also those that are gone: what was hung on a value hangs on what ends it.
    for ref in world.root.below():
        end = ender(ref)
        if end is None or end.holds not in refs:
            continue
        if any(not told.stopped and not told.calls for told in ref.told):
            hang(end.holds, end.teller)
            scopes = above(end.holds) if end.is_scope else []
            for scope, up in pairwise(scopes):
                hang(scope, up)
                cycles.add(up)
            if any(scope.sets_deadline for scope in scopes):
                roots.add(end.holds)
    for ref in refs:
        listened = ender(ref.parent)
        if listened is None or listened.is_scope:
            continue
        if ref.kind == CANCELABLE and ref.end is None:
            hang(ref, listened.teller)
            if ref.sets_deadline:
                roots.add(ref)

    held = _reach(roots, links)
    return Memory(held, _reach(cycles - held, links) - held)


def _reach(start: set[Ref], links: dict[Ref, set[Ref]]) -> set[Ref]:
    found: set[Ref] = set()
    todo = list(start)
    while todo:
        ref = todo.pop()
        if ref not in found:
            found.add(ref)
            todo.extend(links.get(ref, ()))
    return found
