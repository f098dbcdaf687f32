"""Tasks and threads, grouped by the root they work for and the functions they are in.

In two steps, as the second is ten times as dear: by functions all of them, and then the
lines, and what is waited for, of some members of each group.
"""

from __future__ import annotations

import hashlib
import sys
import threading
from collections import Counter
from collections.abc import Iterable
from types import CodeType, FrameType

from .. import _threads
from .._to_thread import running
from ..wire import REQUEST_ID
from . import _roots, _waits
from ._chain import Task, codes
from ._holders import Found
from ._model import Group, Line
from ._roots import Root

MEMBERS = 20  # whose lines and waits are looked at
NAMES = 3


def of_tasks(tasks: Iterable[Task], found: Found) -> tuple[list[Group], list[Members]]:
    """The groups of tasks, the largest first, and who is in each."""
    by: dict[tuple[object, ...], Members] = {}
    for task in tasks:
        root = _roots.of_task(task)
        chain = codes(task)
        # By identity: the hash of a code object goes through all of its instructions.
        key = (root.label, *map(id, chain))
        members = by.get(key)
        if members is None:
            members = by[key] = Members(root.label, chain)
        members.add(task, root)
    every = sorted(by.values(), key=lambda one: -len(one.tasks))
    return [one.group(found) for one in every], every


class Members:
    """The tasks of one group."""

    def __init__(self, label: str, chain: list[CodeType]) -> None:
        self.tasks: list[Task] = []
        self.waits: set[int] = set()
        self._label = label
        self._chain = chain
        self._oldest: Root | None = None
        self._unlimited = self._expired = 0
        self._remaining: float | None = None

    def add(self, task: Task, root: Root) -> None:
        """Count one in."""
        self.tasks.append(task)
        left = root.remaining
        if left is None:
            self._unlimited += 1
        else:
            self._expired += left <= 0.0
            if self._remaining is None or left < self._remaining:
                self._remaining = left
        oldest = self._oldest
        if root.age is not None and (
            oldest is None or oldest.age is None or root.age > oldest.age
        ):
            self._oldest = root

    def group(self, found: Found) -> Group:
        """What is said of them."""
        some = self.tasks[:MEMBERS]
        stacks: Counter[tuple[tuple[CodeType, int], ...]] = Counter()
        what: Counter[str] = Counter()
        things: dict[str, dict[int, object]] = {}
        shares: Counter[int] = Counter()
        for task in some:
            wait, frames = _waits.of_task(task)
            stacks[tuple((one.f_code, one.f_lineno) for one in frames)] += 1
            what[wait.what] += 1
            if wait.thing is not None:
                things.setdefault(wait.what, {})[id(wait.thing)] = wait.thing
                shares[id(wait.thing)] += 1
                self.waits.add(id(wait.thing))
        [(stack, _)] = stacks.most_common(1)
        [(waits, times)] = what.most_common(1)
        resource = ""
        if waits in things:
            most = max(things[waits].values(), key=lambda one: shares[id(one)])
            share = shares[id(most)]
            own = share == 1 < len(things[waits])
            waiting = 1 if own else round(len(self.tasks) * share / len(some))
            resource = found.add(most, waits, waiting)
            if own:
                waits += " (one each)"
        if len(what) > 1:
            waits += f" ({times} of {len(some)} looked at)"
        oldest = self._oldest
        ctx = None if oldest is None else oldest.ctx
        request_id = None if ctx is None else ctx.value(REQUEST_ID)
        return Group(
            id=_id(self._label, (one.co_qualname for one in self._chain)),
            kind="task",
            root=self._label,
            count=len(self.tasks),
            stack=[_line(code, line) for code, line in stack],
            looked=len(some),
            oldest=None if oldest is None else oldest.age,
            unlimited=self._unlimited,
            expired=self._expired,
            remaining=self._remaining,
            waits=waits,
            resource=resource,
            request_id=request_id or "",
            names=[task.get_name() for task in some[:NAMES]],
        )


def of_threads(found: Found) -> list[Group]:
    """The threads, those at the same lines for the same root together."""
    names = {one.ident: one.name for one in threading.enumerate()}
    works = {
        work.thread.ident: work.ctx for work in running() if work.thread is not None
    }
    idle = _threads.idle()
    groups: dict[str, Group] = {}
    for ident, frame in sys._current_frames().items():
        if ident == threading.get_ident():
            continue  # the one that looks
        ctx = works.get(ident) or _roots.of_thread(frame)
        root = None if ctx is None else _roots.of_context(ctx)
        label = _roots.NOBODY if root is None else root.label
        wait, chain = _waits.of_thread(frame)
        resource = ""
        if wait.thing is not None:
            resource = found.add(wait.thing, wait.what, 1)
        stack = [_line(one.f_code, one.f_lineno) for one in _without_start(chain)]
        key = _id(label, (str(line) for line in stack))
        group = groups.get(key)
        if group is None:
            group = groups[key] = Group(
                id=key,
                kind="thread",
                root=label,
                count=0,
                stack=stack,
                looked=0,
                oldest=None,
                unlimited=0,
                expired=0,
                remaining=None,
                waits="work: it is idle" if ident in idle else wait.what,
                resource=resource,
                request_id="",
                names=[],
            )
        _count(group, names.get(ident, f"thread {ident}"), root)
    return sorted(groups.values(), key=lambda one: -one.count)


def _count(group: Group, name: str, root: Root | None) -> None:
    group.count += 1
    group.looked += 1
    if len(group.names) < NAMES:
        group.names.append(name)
    left = None if root is None else root.remaining
    if left is None:
        group.unlimited += 1
    else:
        group.expired += left <= 0.0
        group.remaining = (
            left if group.remaining is None else min(group.remaining, left)
        )
    if root is not None and root.age is not None:
        group.oldest = max(group.oldest or 0.0, root.age)


def _without_start(chain: list[FrameType]) -> list[FrameType]:
    """Without the frames that start every thread."""
    first = 0
    for frame in chain:
        if frame.f_code.co_filename != threading.__file__:
            break
        first += 1
    return chain[first:] or chain


def _line(code: CodeType, line: int | None) -> Line:
    # A frame that runs can be at an instruction of no line: Python tells None then.
    first = code.co_firstlineno
    shown = first if line is None else line
    return Line(code.co_qualname, code.co_filename, shown, first)


def _id(label: str, names: Iterable[str]) -> str:
    """The same at the next look."""
    text = "\n".join((label, *names))
    return hashlib.blake2s(text.encode("utf-8", "replace"), digest_size=6).hexdigest()
