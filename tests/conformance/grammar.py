"""The steps of the language: their fields, and what tether must have for them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, TypeAlias

# A step that went through `check_step`: its fields have the types listed here.
Step: TypeAlias = Mapping[str, Any]


class BadVectorsError(Exception):
    """The vectors cannot be played: the folder, a file or a script is wrong."""


_TYPES: dict[str, tuple[type, ...]] = {
    "as": (str,),
    "at": (int,),
    "cause": (str, type(None)),
    "cause_from": (str,),
    "ctx": (str,),
    "do": (list,),
    "err": (str,),
    "fn": (str,),
    "hold": (int,),
    "g": (str,),
    "key": (str,),
    "kind": (str,),
    "max": (int,),
    "ms": (int,),
    "n": (int,),
    "of": (str,),
    "prefix": (str,),
    "sem": (str,),
    "task": (dict,),
    "val": (str, type(None)),
    "wg": (str,),
}

# op: the fields it must have, the fields it may have
_FIELDS: dict[str, tuple[str, str]] = {
    "with_cancel": ("as of", ""),
    "with_cancel_cause": ("as of", ""),
    "without_cancel": ("as of", ""),
    "with_timeout": ("as of ms", ""),
    "with_timeout_cause": ("as of ms", "cause"),
    "with_deadline": ("as of at", ""),
    "with_deadline_cause": ("as of at", "cause"),
    "with_value": ("as of key val", ""),
    "chain": ("as of kind n", "ms"),
    "fan": ("as of kind n", "ms"),
    "custom": ("as kind", "of at"),
    "custom_cancel": ("ctx err", ""),
    "custom_close": ("ctx", ""),
    "registered": ("ctx", ""),
    "cancel": ("ctx", "cause cause_from"),
    "after_func": ("as ctx", "do"),
    "stop": ("fn", ""),
    "wait": ("as ctx", "max"),
    "advance": ("ms", ""),
    "settle": ("", ""),
    "observe": ("ctx", ""),
    "count": ("prefix", ""),
    "value": ("ctx key", ""),
    "str": ("ctx", ""),
    "sleep": ("ms", ""),
    "sem": ("as n", ""),
    "acquire": ("as sem ctx n", "hold"),
    "try_acquire": ("sem n", ""),
    "release": ("sem n", ""),
    "group": ("as", "of ctx"),
    "set_limit": ("g n", ""),
    "go": ("g task", ""),
    "try_go": ("g task", ""),
    "gwait": ("g", ""),
    "gwait_bg": ("as g", ""),
    "wg": ("as", ""),
    "wg_add": ("wg", "n"),
    "wg_done": ("wg", ""),
    "wg_go": ("wg task", ""),
    "wg_wait": ("wg", ""),
    "wg_wait_bg": ("as wg", ""),
}

# Scripts with these are played on asyncio, too.
WAITING = ("wait", "acquire", "group", "wg")

_TASK_FIELDS: dict[str, tuple[type, ...]] = {
    "id": (str,),
    "dur": (int,),
    "delay": (int,),
    "ret": (str,),
    "obey": (bool,),
    "on_cancel": (str,),
    "ctx": (str,),
    "spawn": (list,),
}

# What an after-function may do; `sleep` is found nowhere else.
_BODY = ("cancel", "custom_cancel", "stop", "after_func", "sleep")

MEMBER_KINDS = (
    "with_cancel",
    "with_cancel_cause",
    "without_cancel",
    "with_timeout",
    "with_value",
)

# kind of user-made context: it has a parent
CUSTOM_KINDS = {
    "wrap": True,
    "wrap_novalue": True,
    "wrap_done": True,
    "own": True,
    "root": False,
    "root_af": False,
}

# Steps of the format that tether has nothing for yet, by the name that they need.
_NEEDS: dict[str, str] = {}


def needs(steps: list[Step]) -> set[str]:
    """The names of tether that the script needs and this runner cannot play yet."""
    return {_NEEDS[step["op"]] for step in steps if step["op"] in _NEEDS}


def check_step(step: object, where: str, *, body: bool = False) -> None:
    """Raises `BadVectorsError` unless the step is one of the language."""
    if not isinstance(step, dict) or not isinstance(step.get("op"), str):
        raise BadVectorsError(f"{where}: not a step: {step!r}")
    op = step["op"]
    if op in _NEEDS and not body:
        return
    if op not in _FIELDS or (op not in _BODY if body else op == "sleep"):
        raise BadVectorsError(f"{where}: unknown op {op!r}")
    for problem in _problems(op, step):
        raise BadVectorsError(f"{where}: {op}: {problem}")
    if "task" in step:
        check_task(step["task"], where)
    for number, act in enumerate(step.get("do", ()), 1):
        check_step(act, f"{where}, do {number}", body=True)


def check_task(task: object, where: str) -> None:
    """Raises `BadVectorsError` unless it is a task of the language."""
    if not isinstance(task, dict) or not isinstance(task.get("id"), str):
        raise BadVectorsError(f"{where}: not a task with an id: {task!r}")
    for name, value in task.items():
        if not isinstance(value, _TASK_FIELDS.get(name, ())) or (
            isinstance(value, bool) != (name == "obey")
        ):
            raise BadVectorsError(
                f"{where}: task {task['id']}: bad {name!r}: {value!r}"
            )
    if task.get("on_cancel", "ret") not in ("err", "cause", "nil", "ret"):
        raise BadVectorsError(f"{where}: unknown 'on_cancel': {task['on_cancel']!r}")
    for one in task.get("spawn", ()):
        check_task(one, f"{where}, spawn")


def _problems(op: str, step: Step) -> Iterator[str]:
    must, may = (names.split() for names in _FIELDS[op])
    for name in must:
        if name not in step:
            yield f"field {name!r} is missing"
    for name, value in step.items():
        if name == "op":
            continue
        if name not in must and name not in may:
            yield f"unknown field {name!r}"
        elif not _has_type(op, name, value):
            yield f"bad {name!r}: {value!r}"
    if op in ("chain", "fan"):
        if step["kind"] not in MEMBER_KINDS:
            yield f"unknown kind {step['kind']!r}"
        if step["kind"] == "with_timeout" and "ms" not in step:
            yield "field 'ms' is missing"
    if op == "custom":
        has_parent = CUSTOM_KINDS.get(step["kind"])
        if has_parent is None:
            yield f"unknown kind {step['kind']!r}"
        elif has_parent != ("of" in step):
            yield f"kind {step['kind']!r} {'needs' if has_parent else 'has no'} 'of'"


def _has_type(op: str, name: str, value: object) -> bool:
    if op == "observe" and isinstance(value, list):
        return all(isinstance(item, str) for item in value)
    return isinstance(value, _TYPES[name]) and not isinstance(value, bool)
