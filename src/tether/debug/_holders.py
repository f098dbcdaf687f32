"""Who holds what others wait for: found on the stacks of suspended coroutines.

Whoever is inside `async with lock:` has the exit of that block on its stack. So nothing
is recorded while the program runs, and asyncio's locks are seen like our own. What is
taken by a bare `acquire()`, or by a running thread, is not seen, and that is said.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable
from types import FrameType

from .. import _where
from .._describe import place
from . import _blocks
from ._chain import Task, frames, links
from ._model import Holder, Resource
from ._roots import of_task
from ._waits import is_held, kind_of, owners, places, state, task_name, waits_for

MEMBERS = 300  # of each group; the holders of a large group are counted up from these
SHOWN = 20
_NOT_SEEN = (
    "Whoever holds it is not seen: taken without a block, by a thread, or given away"
)
_NOT_LOOKED_AT = f", or not among the first {MEMBERS} tasks of a larger group"


class Found:
    """The resources that tasks wait for at one look."""

    def __init__(self) -> None:
        self._things: dict[int, tuple[object, Resource]] = {}

    def add(self, thing: object, name: str, waiting: int) -> str:
        """Note that so many wait for it; its id."""
        ident = f"r{id(thing):x}"
        known = self._things.get(id(thing))
        if known is None:
            one = Resource(ident, name, kind_of(thing), state(thing), 0)
            known = self._things[id(thing)] = (thing, one)
        known[1].waiting += waiting
        return ident

    def resources(
        self, groups: Iterable[tuple[list[Task], set[int]]]
    ) -> list[Resource]:
        """All of them with their holders, those that most wait for first.

        `groups` are the tasks of each group, and the ids of what they wait for.
        """
        held = {key for key, (thing, _) in self._things.items() if is_held(thing)}
        holders: dict[int, list[tuple[Task, float]]] = {key: [] for key in held}
        not_seen = _NOT_SEEN
        if held:
            for tasks, waits in groups:
                some = tasks[:MEMBERS]
                if len(some) < len(tasks):
                    not_seen = _NOT_SEEN + _NOT_LOOKED_AT
                weight = len(tasks) / max(1, len(some))
                wanted = held - waits if sys.version_info >= (3, 14) else held
                for task in some:
                    for key in _held_by(task, wanted):
                        holders[key].append((task, weight))
        for key, (thing, one) in self._things.items():
            if key in held:
                who = holders[key]
                counted = round(sum(weight for _, weight in who))
                one.holder_count = min(counted, places(thing))
                one.holders = _named([task for task, _ in who])
                if not who and not state(thing).startswith("free"):
                    one.note = f"{not_seen}."
            else:
                tasks = owners(thing)
                one.holder_count = len(tasks)
                one.holders = _named(tasks)
        return sorted((one for _, one in self._things.values()), key=_waiting)


def _waiting(one: Resource) -> int:
    return -one.waiting


def _held_by(task: Task, wanted: set[int]) -> set[int]:
    """Which of the wanted a task holds, in blocks of its own or of a generator's."""
    found: set[int] = set()
    chain = links(task)
    todo = [*chain]
    for index, one in enumerate(todo):
        following = chain[index + 1] if index + 1 < len(chain) else None
        for manager in _blocks.managers(one, following):
            if id(manager) in wanted:
                found.add(id(manager))
                continue
            found.update(wanted.intersection(map(id, _blocks.parts(manager))))
            made_of = _blocks.generator(manager)
            if made_of is not None and len(todo) < MEMBERS:
                todo.append(made_of)
    return found


def _named(tasks: list[Task]) -> list[Holder]:
    """A few of them by name, those at the same place counted together."""
    seen: Counter[object] = Counter()
    first: dict[object, Holder] = {}
    for task in tasks:
        chain = frames(task)
        root = of_task(task)
        own = own_line(chain)
        key: object = (root.label, own, chain[-1].f_code if chain else None)
        seen[key] += 1
        holder = first.get(key)
        if holder is None:
            at = f"{own} > {waits_for(chain)}".removeprefix(" > ") if chain else ""
            first[key] = Holder(task_name(task), root.label, root.age, at)
        elif root.age is not None and root.age > (holder.age or 0.0):
            holder.age, holder.name = root.age, task_name(task)
    for key, holder in first.items():
        holder.count = seen[key]
    return sorted(first.values(), key=lambda one: -one.count)[:SHOWN]


def own_line(chain: list[FrameType]) -> str:
    """The innermost line of the program's own code."""
    for frame in reversed(chain):
        if not _where.is_of_a_library(frame):
            code = frame.f_code
            return f"{place(code, frame.f_lasti)} in {code.co_qualname}()"
    return ""
