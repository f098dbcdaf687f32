"""Arguments that are wrong are refused at the call, with the cure."""

from __future__ import annotations

from collections.abc import Callable
from math import isnan
from operator import index
from typing import TypeVar

from ._errors import (
    NAN,
    NOT_A_CAUSE,
    NOT_A_DELTA,
    NOT_A_LIMIT,
    NOT_A_NUMBER,
    NOT_A_WHOLE_NUMBER,
    NOT_CALLABLE,
)

F = TypeVar("F", bound=Callable[..., object])


def seconds_(name: str, value: object) -> float:
    """`value` as a float; TypeError unless it is a number, ValueError for NaN."""
    if not isinstance(value, float):
        if isinstance(value, str) or not hasattr(type(value), "__float__"):
            raise TypeError(NOT_A_NUMBER.format(name=name, value=value))
        value = float(value)  # type: ignore[arg-type]
    if isnan(value):
        raise ValueError(NAN.format(name=name))
    return value


def whole_(name: str, value: object) -> int:
    """`value` as an int; TypeError unless it is one, ValueError if it is negative."""
    if isinstance(value, bool) or not hasattr(type(value), "__index__"):
        raise TypeError(NOT_A_WHOLE_NUMBER.format(name=name, value=value))
    number = index(value)  # type: ignore[arg-type]
    if number < 0:
        raise ValueError(NOT_A_WHOLE_NUMBER.format(name=name, value=value))
    return number


def callable_(name: str, value: F) -> F:
    if not callable(value):
        raise TypeError(NOT_CALLABLE.format(name=name, value=value))
    return value


def cause_(value: object) -> BaseException | None:
    if value is None or isinstance(value, BaseException):
        return value
    raise TypeError(NOT_A_CAUSE.format(value=value))


def limit_(value: object) -> int:
    """A limit as groups keep it: -1 for none."""
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(NOT_A_LIMIT.format(value=value))
    return max(value, -1)


def delta_(name: str, value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(NOT_A_DELTA.format(name=name, value=value))
    return value
