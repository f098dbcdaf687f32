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
from . import _labels, _roots, _waits
from ._chain import Task, codes
from ._holders import Found
from ._model import Group, Line
from ._roots import Root
from ._waits import Wait

GROUPS = 300  # that are told one by one; the others are counted together
MEMBERS = 20  # whose lines and waits are looked at
NAMES = 3
OURS = "tether-debug"  # so the threads of the page are named, which are left out


def of_tasks(tasks: Iterable[Task], found: Found) -> tuple[list[Group], list[Members]]:
    """The groups of tasks, the largest first, and who is in each."""
    by: dict[tuple[int, ...], Kin] = {}
    for task in tasks:
        root = _roots.of_task(task)
        chain = codes(task)
        # By identity: the hash of a code object goes through all of its instructions.
        key = (*map(id, chain),)
        kin = by.get(key)
        if kin is None:
            kin = by[key] = Kin(chain)
        kin.add(task, root)
    every = [members for kin in by.values() for members in kin.groups()]
    every.sort(key=lambda one: -len(one.tasks))
    groups = [one.group(found) for one in every[:GROUPS]]
    if len(every) > GROUPS:
        groups.append(_together(every[GROUPS:]))
    return groups, every


class Kin:
    """The tasks in the same functions, by the label of their root."""

    def __init__(self, chain: list[CodeType]) -> None:
        self._chain = chain
        self._by: dict[str, Members] = {}
        # Of further labels, without an object for each: so many would set off a full
        # garbage collection, and that is a stop of the whole program.
        self._more: list[Task] = []
        self._counts: Counter[str] = Counter()

    def add(self, task: Task, root: Root) -> None:
        """Count one in."""
        label = root.label
        members = self._by.get(label)
        if members is None:
            if len(self._by) == _labels.MOST:
                self._more.append(task)
                self._counts[label] += 1
                return
            members = self._by[label] = Members(label, self._chain)
        members.add(task, root)

    def groups(self) -> list[Members]:
        """Those of each label; the small ones as one, if there are too many labels."""
        if not self._more:
            return [*self._by.values()]
        counts = self._counts
        tasks = self._more
        for label, members in self._by.items():
            counts[label] += len(members.tasks)
            tasks += members.tasks
        told = _labels.told(counts)
        by = {label: Members(label, self._chain) for label in told}
        others = _labels.folded(counts.keys() - told)
        rest = Members(others, self._chain, ident="…")  # the same at the next look
        for task in tasks:
            root = _roots.of_task(task)
            by.get(root.label, rest).add(task, root)
        return [one for one in (rest, *by.values()) if one.tasks]


class Members:
    """The tasks of one group."""

    def __init__(self, label: str, chain: list[CodeType], ident: str = "") -> None:
        self.tasks: list[Task] = []
        self.waits: set[int] = set()
        self._label = label
        self._ident = ident or label
        self._chain = chain
        self._oldest: Root | None = None
        self.unlimited = self.expired = 0
        self.remaining: float | None = None

    def add(self, task: Task, root: Root) -> None:
        """Count one in."""
        self.tasks.append(task)
        left = root.remaining
        if left is None:
            self.unlimited += 1
        else:
            self.expired += left <= 0.0
            if self.remaining is None or left < self.remaining:
                self.remaining = left
        oldest = self._oldest
        if root.age is not None and (
            oldest is None or oldest.age is None or root.age > oldest.age
        ):
            self._oldest = root

    @property
    def age(self) -> float | None:
        """Seconds, of the root of the oldest."""
        return None if self._oldest is None else self._oldest.age

    def group(self, found: Found) -> Group:
        """What is said of them."""
        some = self.tasks[:MEMBERS]
        stacks: Counter[tuple[tuple[CodeType, int], ...]] = Counter()
        looked: list[Wait] = []
        for task in some:
            wait, frames = _waits.of_task(task)
            stacks[tuple((one.f_code, one.f_lineno) for one in frames)] += 1
            looked.append(wait)
        [(stack, _)] = stacks.most_common(1)
        waits, resource = self._waits_for(looked, found)
        oldest = self._oldest
        ctx = None if oldest is None else oldest.ctx
        request_id = None if ctx is None else ctx.value(REQUEST_ID)
        return Group(
            id=_id(self._ident, (one.co_qualname for one in self._chain)),
            kind="task",
            root=self._label,
            count=len(self.tasks),
            stack=[_line(code, line) for code, line in stack],
            looked=len(some),
            oldest=self.age,
            unlimited=self.unlimited,
            expired=self.expired,
            remaining=self.remaining,
            waits=waits,
            resource=resource,
            request_id=request_id or "",
            names=[task.get_name() for task in some[:NAMES]],
        )

    def _waits_for(self, looked: list[Wait], found: Found) -> tuple[str, str]:
        """What most of them wait for, in words, and the id of it, or ""."""
        self.waits.update(id(one.thing) for one in looked if one.thing is not None)
        [(kind, times)] = Counter(one.kind for one in looked).most_common(1)
        alike = [one for one in looked if one.kind == kind]
        shares = Counter(id(one.thing) for one in alike)
        own = 2 * sum(share == 1 for share in shares.values()) > len(alike) > 1
        resource = ""
        if own:
            said = f"{kind} (one each)"
            wait, waiting = alike[0], 1
        else:
            [(thing, times)] = shares.most_common(1)
            wait = next(one for one in alike if id(one.thing) == thing)
            said = wait.what
            waiting = round(len(self.tasks) * times / len(looked))
        if wait.thing is not None:
            resource = found.add(wait.thing, wait.what, waiting)
        if times < len(looked):
            said += f" ({times} of {len(looked)} looked at)"
        return said, resource


def _together(groups: list[Members]) -> Group:
    """One group for all that are too small to be told."""
    left = [one.remaining for one in groups if one.remaining is not None]
    ages = [one.age for one in groups if one.age is not None]
    return Group(
        id=_id("…", ()),
        kind="task",
        root=f"… {len(groups):,} smaller groups",
        count=sum(len(one.tasks) for one in groups),
        stack=[],
        looked=0,
        oldest=max(ages, default=None),
        unlimited=sum(one.unlimited for one in groups),
        expired=sum(one.expired for one in groups),
        remaining=min(left, default=None),
        waits="",
        resource="",
        request_id="",
        names=[],
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
        if ident == threading.get_ident() or names.get(ident, "").startswith(OURS):
            continue
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
