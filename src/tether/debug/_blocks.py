"""The blocks that a suspended coroutine is inside of, and what their managers have.

The interpreter keeps the exits of blocks on the coroutine's stack, where the garbage
collector sees them: nobody need record who holds a lock.

Among what it sees there is anything that a program has in a variable: proxies of what
is gone, lazy objects that ask a database when they are touched. So nothing is asked of
an object here, only of its type.
"""

from __future__ import annotations

import contextlib
import gc
import sys
from types import MethodType
from typing import Any

# What both decorators make has the same base, which has no public name.
_MADE_OF_ONE: type = contextlib._GeneratorContextManager.__mro__[1]
_EXITS = {"__aexit__", "__exit__"}
_FUNCTIONS = {
    *("function", "builtin_function_or_method", "method_descriptor"),
    *("cython_function_or_method",),
}


def managers(one: object, following: object = None) -> list[object]:
    """The context managers whose blocks a suspended coroutine is inside of.

    `following` is what it awaits. If that is still the entry of a block, its exit is on
    the stack already, and it is not inside.
    """
    referents = gc.get_referents(one)
    if sys.version_info >= (3, 14):
        # There the function and its object lie side by side. Variables are among them,
        # so that whoever waits for one of these cannot be told from who has it.
        if not any(_name(other) in _EXITS for other in referents):
            return []
        return [
            other
            for other in referents
            if hasattr(type(other), "__aexit__") or hasattr(type(other), "__exit__")
        ]
    found = [
        other.__self__
        for other in referents
        if _name(other) in _EXITS and type(other).__name__ != "function"
    ]
    frame = getattr(following, "cr_frame", None)
    if frame is not None and frame.f_code.co_name == "__aenter__":
        entered = frame.f_locals.get(frame.f_code.co_varnames[0])
        for index in range(len(found) - 1, -1, -1):  # of two, the outer one is entered
            if found[index] is entered:
                del found[index]
                break
    return found


def parts(manager: object) -> list[object]:
    """What it refers to: a permit its lock, a connection its pool."""
    found = gc.get_referents(manager)
    for one in found:
        if type(one) is dict and one is _dict(manager):
            return [*found, *one.values()]  # as soon as somebody has looked at it
    return found


def generator(manager: Any) -> object | None:
    """That of a manager which is made of one, by contextlib's decorators."""
    return manager.gen if issubclass(type(manager), _MADE_OF_ONE) else None


def _dict(one: object) -> object:
    try:
        return object.__getattribute__(one, "__dict__")
    except AttributeError:
        return None


def _name(one: Any) -> str:
    """Of a function, a method, or something built in."""
    if type(one) is MethodType:
        one = one.__func__
    return str(one.__name__) if type(one).__name__ in _FUNCTIONS else ""
