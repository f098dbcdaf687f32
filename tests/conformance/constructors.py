"""The steps that make contexts."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import cast

from tests.conformance.grammar import Step
from tests.conformance.user_made import Own, Root, RootAf, Wrap, WrapDone, WrapNoValue
from tests.conformance.world import MS, World
from tether import Context, Key


class _Nil:
    """Go's missing parent: the methods of `Context`, called on None."""

    def __getattr__(self, name: str) -> object:
        return partial(getattr(Context, name), None)


_NIL = cast("Context", _Nil())

Make = Callable[[World, Context, Step], Context]


def _with_timeout_cause(world: World, parent: Context, step: Step) -> Context:
    return parent.with_timeout(step["ms"] * MS, _cause(world, step))


def _with_deadline_cause(world: World, parent: Context, step: Step) -> Context:
    return parent.with_deadline(world.instant(step["at"]), _cause(world, step))


def _with_value(world: World, parent: Context, step: Step) -> Context:
    # Not every key of a script is a `Key`: refusing the rest is part of the test.
    key = cast("Key[object]", world.keys.spelled(step["key"]))
    return parent.with_value(key, step["val"])


def _cause(world: World, step: Step) -> Exception | None:
    name = step.get("cause")
    return world.errors.named(name) if name is not None else None


_MAKE: dict[str, Make] = {
    "with_cancel": lambda world, parent, step: parent.with_cancel(),
    "with_cancel_cause": lambda world, parent, step: parent.with_cancel(),
    "without_cancel": lambda world, parent, step: parent.without_cancel(),
    "with_timeout": lambda world, parent, step: parent.with_timeout(step["ms"] * MS),
    "with_timeout_cause": _with_timeout_cause,
    "with_deadline": lambda world, parent, step: parent.with_deadline(
        world.instant(step["at"])
    ),
    "with_deadline_cause": _with_deadline_cause,
    "with_value": _with_value,
}


def derive(world: World, step: Step, *, shown: bool = True) -> None:
    """Makes one context with the library's constructor."""
    op, of = step["op"], step["of"]
    parent = world.parent(of)
    made = _MAKE[op](world, _NIL if parent is None else parent, step)
    endless = op == "without_cancel" or (op == "with_value" and of in world.endless)
    world.add(step["as"], made, shown=shown, endless=endless)


def _members(world: World, step: Step, *, chained: bool) -> None:
    of = step["of"]
    for number in range(step["n"]):
        name = f"{step['as']}.{number}"
        one: dict[str, object] = {"op": step["kind"], "as": name, "of": of}
        if step["kind"] == "with_value":
            one |= {"key": f"s:{name}", "val": name}
        elif step["kind"] == "with_timeout":
            one["ms"] = step["ms"]
        derive(world, one, shown=False)
        if chained:
            of = name


def chain(world: World, step: Step) -> None:
    """Makes contexts below each other."""
    _members(world, step, chained=True)


def fan(world: World, step: Step) -> None:
    """Makes contexts beside each other."""
    _members(world, step, chained=False)


def custom(world: World, step: Step) -> None:
    """Makes a user-made context."""
    kind, name = step["kind"], step["as"]
    claimed = world.instant(step["at"]) if "at" in step else None
    made: Context
    if kind == "root":
        made = Root(claimed)
    elif kind == "root_af":
        made = RootAf(partial(world.work.start, f"function of {name}"), claimed)
    else:
        parent = world.context(step["of"])
        own = partial(Own, run=partial(world.work.run, f"end of {name}"))
        kinds: dict[str, Callable[[Context], Context]] = {
            "wrap": Wrap,
            "wrap_novalue": WrapNoValue,
            "wrap_done": WrapDone,
            "own": own,
        }
        made = kinds[kind](parent)
    hands_through = kind in ("wrap", "wrap_novalue")
    endless = hands_through and step["of"] in world.endless
    world.add(name, made, shown=True, endless=endless)


STEPS: dict[str, Callable[[World, Step], object]] = {
    **dict.fromkeys(_MAKE, derive),
    "chain": chain,
    "fan": fan,
    "custom": custom,
}
