"""Names and methods that mean something else while a bubble is open.

Functions of C cannot be changed in place, so names are replaced: in the modules they
are of, in `threading` and `queue`, whose waits follow the clock, and wherever a module
outside the standard library has imported them by name.

What waits for another process polls it with `time.sleep`: that goes by real time.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import queue
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from types import ModuleType, SimpleNamespace
from typing import Any

# Test tools, which measure tests, and libraries that compare the class `datetime`.
KEEP = {"tether", "pytest", "_pytest", "pluggy", "hypothesis", "xdist", "execnet"}
KEEP |= {"pytest_timeout", "pydantic", "pydantic_core", "sqlalchemy"}
KEEP |= sys.stdlib_module_names
FOLLOW = (time, dt, threading, queue, asyncio, asyncio.events)
REAL = SimpleNamespace(**vars(time))
PROCESSES = ("subprocess", "multiprocessing")

Pairs = list[tuple[Any, Any]]
Fakes = list[tuple[type, type, list[str]]]


@contextmanager
def replaced(pairs: Pairs) -> Iterator[None]:
    """Where the first of a pair has a name, that means the second."""
    new = {id(real): fake for real, fake in pairs}
    back = {id(fake): real for real, fake in pairs}
    polling = [*_polling()]
    try:
        for place in polling:
            place["time"] = REAL
        _replace(_places(), new)
        yield
    finally:
        # Everywhere: a module may have been loaded meanwhile.
        _replace((vars(one) for one in _modules() if not _is_ours(one)), back)
        for place in polling:
            place["time"] = time


def _replace(places: Iterable[dict[str, Any]], new: dict[int, Any]) -> None:
    for place in [*places]:
        for name, value in [*place.items()]:
            if id(value) in new:
                place[name] = new[id(value)]


def _places() -> Iterator[dict[str, Any]]:
    yield from map(vars, FOLLOW)
    for module in _modules():
        if module.__name__.partition(".")[0] not in KEEP:
            yield vars(module)


def _is_ours(module: ModuleType) -> bool:
    return module.__name__.startswith("tether.testing.bubbling")


def _modules() -> Iterator[ModuleType]:
    for module in [*sys.modules.values()]:
        if isinstance(module, ModuleType):
            yield module


def _polling() -> Iterator[dict[str, Any]]:
    for module in _modules():
        is_one = module.__name__.partition(".")[0] in PROCESSES
        if is_one and vars(module).get("time") is time:
            yield vars(module)


@contextmanager
def patched(fakes: Fakes) -> Iterator[None]:
    """Where the first has a method of these names, it has that of the second."""
    real = [
        (cls, name, getattr(cls, name)) for cls, _, names in fakes for name in names
    ]
    try:
        for cls, fake, names in fakes:
            for name in names:
                setattr(cls, name, getattr(fake, name))
        yield
    finally:
        for cls, name, old in real:
            setattr(cls, name, old)
