"""tether's own: scopes, groups, and threads that `to_thread` has left behind."""

from __future__ import annotations

from collections.abc import Hashable
from functools import partial
from typing import final

from ... import _describe, _to_thread
from ..._group import Group
from ..._live import Live
from ..._scope import Scope
from ..._tree import ENTERED, NEW, Node
from ..._waitgroup import WaitGroup
from ..._where import thread
from ._found import Found
from ._leak import Leak
from ._owner import owner


@final
class Contexts:
    """Scopes that were never ended, work that has not been waited for."""

    def __init__(self) -> None:
        self._live: Live[object] = Live(owner.get)

    def start(self) -> None:
        self._live = Live(owner.get)
        self._live.__enter__()

    def stop(self) -> None:
        self._live.__exit__(None, None, None)

    def now(self) -> dict[Hashable, Found]:
        found: dict[Hashable, Found] = {}
        for one, whose in self._live.noted(object):
            if isinstance(one, Group | WaitGroup):
                if one._left:
                    found["group", id(one)] = Found(whose, partial(_group, one))
            elif isinstance(one, Scope):
                if one._state == ENTERED:
                    found["scope", id(one)] = Found(whose, partial(_open, one))
                elif one._state == NEW and not one.done():
                    found["scope", id(one)] = Found(whose, partial(_never, one))
        for work in _to_thread.running():
            if work.is_abandoned():
                found["abandoned", id(work)] = Found(None, partial(_abandoned, work))
        return found


def words(node: Node) -> str:
    """A context in the words of its errors: the work, the place, the time."""
    scope = node
    said = f"the context made at {_describe.site(scope)}"
    if isinstance(scope, Scope):
        label = scope.value(_describe.LABEL)
        if label:
            said += f" for {label}"
        left = scope.remaining()
        if scope.done():
            said += f", over: {_describe.end_of(scope)}"
        elif left < float("inf"):
            said += f", {left:.3g} s left"
        else:
            said += ", without a deadline"
    return said


def _open(scope: Scope) -> Leak:
    if scope.done():
        cure = "something in its block does not notice: give it the context, look at it"
        return Leak("expired but still running", words(scope), (), cure)
    cure = "leave its with block on every path"
    return Leak("context never left", words(scope), (), cure)


def _never(scope: Scope) -> Leak:
    cure = "use it in a with block, or cancel() it when the work is over"
    return Leak("context never canceled", words(scope), (), cure)


def _group(group: Group | WaitGroup) -> Leak:
    running = [f"runs: {handle.name}" for handle in [*group._pieces]][:10]
    name = type(group).__name__
    what = f"{group._left} in the {name} of {words(group._scope)}"
    cure = "use it in a block, or wait() for it; drain(ctx) a WaitGroup of a service"
    return Leak("group with work", what, tuple(running), cure)


def _abandoned(work: _to_thread.Work[object]) -> Leak:
    where = [] if work.thread is None else [thread(work.thread)]
    cure = "have the function look at its context, or use ctx.interrupting"
    return Leak("abandoned thread", "left behind by to_thread", tuple(where), cure)
