"""The open contexts as a tree, and those that are over while their block still runs."""

from __future__ import annotations

from collections import deque
from typing import TypeAlias

from .. import _clock, _describe, _where
from .._clock import INF
from .._interrupt import NO_TASK, Stack
from .._live import Live
from .._overdue import is_open, over_since
from .._scope import Scope
from .._to_thread import running
from .._tree import Node
from . import _labels, _roots, _waits
from ._chain import frames
from ._holders import own_line
from ._model import Branch, Overdue

Place: TypeAlias = tuple[int, int]  # the id of a code object, and an instruction

SHOWN = 50  # of those that are over
BRANCHES = 500  # that are told one by one; the others are counted together
DEEPEST = 100  # levels of the tree: what is below is counted with the last


def look(live: Live[None]) -> tuple[list[Branch], list[Overdue], int, int]:
    """The branches, the overdue, how many are open, and how many of these are over."""
    now = _clock.now()
    opened: list[Scope] = []
    # No tuple for each context: so many would set off a full garbage collection, and
    # that is a stop of the whole program.
    for noted in list(live._refs):
        scope = noted()
        if isinstance(scope, Scope) and is_open(scope):
            opened.append(scope)
    tree = _Tree({})
    if not tree.grow(opened, now):
        tree = _Tree(_counted(opened))
        tree.grow(opened, now)
    over = tree.over
    over.sort(key=lambda one: one[0])
    _prune(tree.top)
    overdue = [_overdue(scope, now, ended) for ended, scope in over[:SHOWN]]
    return tree.top, overdue, len(opened), len(over)


def _counted(opened: list[Scope]) -> dict[Place, dict[str, int]]:
    """How many contexts each label has, of each place where some are made."""
    counted: dict[Place, dict[str, int]] = {}
    for scope in opened:
        labels = counted.setdefault((id(scope._code), scope._lasti), {})
        label = _roots.name(scope)
        labels[label] = labels.get(label, 0) + 1
    return counted


class _Tree:
    """The branches, and which context belongs to which."""

    def __init__(self, counted: dict[Place, dict[str, int]]) -> None:
        self.top: list[Branch] = []
        self.over: list[tuple[float, Scope]] = []
        self._of: dict[Scope, Branch | None] = {}
        self._known: dict[tuple[int, str, str], Branch] = {}
        self._levels: dict[int, int] = {}
        self._sites: dict[Place, str] = {}
        self._labels: dict[Place, set[str]] = {}
        self._many, self._counted = False, bool(counted)
        # What is told of a place with many labels: those by themselves, and the others.
        self._told: dict[Place, tuple[set[str], str]] = {}
        for place, labels in counted.items():
            if len(labels) > _labels.MOST:
                own = _labels.told(labels)
                self._told[place] = (own, _labels.folded(labels.keys() - own))

    def grow(self, opened: list[Scope], now: float) -> bool:
        """Count them; False: a place has many labels, and they have to be counted."""
        for scope in opened:
            branch = self.branch(scope)
            branch.count += 1
            branch.oldest = max(branch.oldest, now - _roots.made(scope))
            if scope._deadline != INF:
                left = scope._deadline - now
                known = branch.remaining
                branch.remaining = left if known is None else min(known, left)
            ended = over_since(scope)
            if ended is not None:
                branch.over += 1
                self.over.append((ended, scope))
            if self._many and not self._counted:
                return False
        return True

    def branch(self, scope: Scope) -> Branch:
        """That of an open context."""
        chain: list[Scope] = []
        node: object = scope
        above: Branch | None = None
        while isinstance(node, Node):
            if isinstance(node, Scope):
                if node in self._of:
                    above = self._of[node]
                    break
                chain.append(node)
            node = node._parent
        for one in reversed(chain):
            # One that is not open, as it is left or was never entered, has no branch.
            if one is scope or is_open(one):
                above = self._below(above, one)
            self._of[one] = above
        branch = self._of[scope]
        assert branch is not None
        return branch

    def _below(self, above: Branch | None, scope: Scope) -> Branch:
        level = 1 if above is None else self._levels[id(above)] + 1
        if above is not None and level > DEEPEST:
            return above
        # By identity: the hash of a code object goes through all of its instructions.
        place = (id(scope._code), scope._lasti)
        site = self._sites.get(place)
        if site is None:
            site = self._sites[place] = _describe.site(scope)
        label = _roots.name(scope)
        if place in self._told:
            own, others = self._told[place]
            label = label if label in own else others
        key = (id(above), label, site)
        branch = self._known.get(key)
        if branch is None:
            branch = self._known[key] = Branch(label, site, 0, 0.0, None, 0)
            self._levels[id(branch)] = level
            siblings = self.top if above is None else above.children
            siblings.append(branch)
            labels = self._labels.setdefault(place, set())
            labels.add(label)
            self._many = self._many or len(labels) > _labels.MOST
        return branch


def _prune(top: list[Branch]) -> None:
    """Sort them, and put those together that are too many."""
    left = BRANCHES
    todo = deque([top])
    while todo:
        some = todo.popleft()
        some.sort(key=lambda one: -one.count)
        if len(some) > left + 1:
            some[left:] = [_together(some[left:])]
        left = max(0, left - len(some))
        todo += [one.children for one in some]


def _together(branches: list[Branch]) -> Branch:
    """One for some, and for all below them."""
    whole = Branch(f"… {len(branches):,} more", "", 0, 0.0, None, 0)
    todo = [*branches]
    while todo:
        one = todo.pop()
        whole.count += one.count
        whole.oldest = max(whole.oldest, one.oldest)
        whole.over += one.over
        if one.remaining is not None:
            known = whole.remaining
            left = one.remaining
            whole.remaining = left if known is None else min(known, left)
        todo += one.children
    return whole


def _overdue(scope: Scope, now: float, ended: float) -> Overdue:
    task, at = _who(scope)
    return Overdue(
        label=_roots.name(scope),
        site=_describe.site(scope),
        age=now - _roots.made(scope),
        over=now - ended,
        why=_describe.end_of(scope),
        holds=_holds(scope),
        task=task,
        at=at,
    )


def _who(scope: Scope) -> tuple[str, str]:
    """The task inside its block, or the thread that works for it, and where that is."""
    name = at = ""
    stack = scope._tether_stack
    if isinstance(stack, Stack) and stack.task is not NO_TASK:
        name = f"task {_waits.task_name(stack.task)}"
        at = own_line(frames(stack.task))
    for work in running():
        if work.thread is not None and work.ctx._tether_node() is scope:
            said = _where.thread(work.thread, _where.name_of(work.fn))
            if not name:
                name, _, at = said.partition(", at ")
            else:  # the task may wait for it, or have left it behind
                at += f"; {said}"
    return name, at


def _holds(scope: Scope) -> list[str]:
    """What hangs on it: calls to be interrupted, threads, waits."""
    hooks = scope._hooks
    said: list[str] = []
    for hook in [*hooks] if hooks else []:
        if not isinstance(hook, Node):
            fn = getattr(hook, "fn", None) or getattr(hook, "_fn", None)
            kind = type(hook).__name__.lstrip("_")
            said.append(f"{kind} {_where.name_of(fn)}" if fn is not None else kind)
    said += [
        f"thread {work.thread.name}: {_where.name_of(work.fn)}"
        for work in running()
        if work.thread is not None and work.ctx._tether_node() is scope
    ]
    return said
