"""Signal: set once, and each callback called once or never."""

from __future__ import annotations

import pytest

from tests.core.support import LONG, start
from tether import Signal


def test_a_signal_tells_each_callback_once() -> None:
    signal = Signal()
    told: list[int] = []
    removes = [
        signal.add_callback(lambda number=number: told.append(number))
        for number in range(3)
    ]
    assert removes[1]() is True
    assert removes[1]() is False
    signal.set()
    signal.set()
    assert told == [0, 2]
    assert [remove() for remove in removes] == [False] * 3
    assert signal.add_callback(lambda: told.append(9))() is False
    assert told == [0, 2, 9]


def test_a_callback_of_a_signal_that_raises_reaches_who_set_it() -> None:
    signal = Signal()
    told: list[int] = []
    signal.add_callback(lambda: 1 // 0)
    signal.add_callback(lambda: told.append(1))
    with pytest.raises(ZeroDivisionError):
        signal.set()
    assert told == [1]
    assert signal.is_set()
    signal.set()


def test_a_callback_may_use_its_signal() -> None:
    signal = Signal()
    told: list[str] = []

    def callback() -> None:
        signal.set()
        assert signal.is_set()
        signal.add_callback(lambda: told.append("inner"))
        told.append("outer")

    signal.add_callback(callback)
    signal.set()
    assert told == ["inner", "outer"]


def test_a_signal_that_is_set_by_many_tells_once(switching: None) -> None:
    for _ in range(200):
        signal = Signal()
        told: list[None] = []
        signal.add_callback(lambda: told.append(None))
        setting = [start(signal.set) for _ in range(3)]
        for one in setting:
            one.result(LONG)
        assert told == [None]
