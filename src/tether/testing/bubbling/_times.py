"""The modules `time` and `datetime` for those inside a bubble; for others, as ever.

The replacements are made once and ask at each call, so one that has stayed somewhere
tells real time afterwards, and the time of the next bubble in that.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, tzinfo
from datetime import date as _date
from datetime import datetime as _datetime
from functools import wraps
from typing import Any

from ..._clock import INF, Parker
from ._clock import here
from ._replaced import REAL, Pairs

EPOCH = 946_684_800.0  # 2000-01-01 in UTC, where synctest begins


# -- time ------------------------------------------------------------------------------


def _clocked(real: Callable[[], Any], epoch: float, ns: bool) -> Callable[[], Any]:
    def read() -> Any:
        clock = here()
        if clock is None:
            return real()
        now = clock.now() + epoch
        return round(now * 1e9) if ns else now

    return read


_real_sleep = time.sleep


def _sleep(seconds: float, /) -> None:
    clock = here()
    if clock is None or not 0.0 < seconds < INF:
        _real_sleep(seconds)  # which also refuses what is no number of seconds
    else:
        Parker().park(clock.now() + seconds)


def _of_now(real: Callable[..., Any], at: int) -> Callable[..., Any]:
    """Like this one, whose argument of this number is by default the time now."""

    @wraps(real)
    def told(*args: Any) -> Any:
        clock = here()
        if clock is None or args[at:] not in ((), (None,)):
            return real(*args)
        now = EPOCH + clock.now()
        return real(*args[:at], now if real in OF_SECONDS else REAL.localtime(now))

    return told


OF_SECONDS: set[Callable[..., Any]] = {time.localtime, time.gmtime, time.ctime}

# -- datetime --------------------------------------------------------------------------


class _Same(type):
    """isinstance and issubclass as of the real class; its own classes are as ever."""

    def __instancecheck__(cls, one: object) -> bool:
        real = _REAL_CLASS.get(cls)
        return super().__instancecheck__(one) if real is None else isinstance(one, real)

    def __subclasscheck__(cls, one: type) -> bool:
        real = _REAL_CLASS.get(cls)
        return super().__subclasscheck__(one) if real is None else issubclass(one, real)


class _Date(_date, metaclass=_Same):
    """A `date` whose today is the bubble's; what it makes is of the real class."""

    def __new__(cls, *args: Any, **kw: Any) -> Any:
        return _date.__new__(_REAL_CLASS.get(cls, cls), *args, **kw)

    @classmethod
    def today(cls) -> Any:
        clock, make = here(), _REAL_CLASS.get(cls, cls)
        now = REAL.time() if clock is None else EPOCH + clock.now()
        return make.fromtimestamp(now)


class _Datetime(_datetime, metaclass=_Same):
    """A `datetime` whose now is the bubble's; what it makes is of the real class."""

    def __new__(cls, *args: Any, **kw: Any) -> Any:
        return _datetime.__new__(_REAL_CLASS.get(cls, cls), *args, **kw)

    @classmethod
    def now(cls, tz: tzinfo | None = None) -> Any:
        clock, make = here(), _REAL_CLASS.get(cls, cls)
        now = REAL.time() if clock is None else EPOCH + clock.now()
        return make.fromtimestamp(now, tz)

    @classmethod
    def today(cls) -> Any:
        return cls.now()

    @classmethod
    def utcnow(cls) -> Any:
        return cls.now(UTC).replace(tzinfo=None)


_REAL_CLASS: dict[type, Any] = {_Date: _date, _Datetime: _datetime}
for _fake, _one in _REAL_CLASS.items():
    _fake.__name__ = _fake.__qualname__ = _one.__name__
    _fake.__module__ = "datetime"

TIMES: Pairs = [(_real_sleep, _sleep), (_date, _Date), (_datetime, _Datetime)]
for _name, _epoch in (("time", EPOCH), ("monotonic", 0.0), ("perf_counter", 0.0)):
    for _full, _ns in ((_name, False), (f"{_name}_ns", True)):
        _real = getattr(time, _full)
        TIMES.append((_real, _clocked(_real, _epoch, _ns)))
TIMES += [(_real, _of_now(_real, 0)) for _real in {*OF_SECONDS, time.asctime}]
TIMES.append((time.strftime, _of_now(time.strftime, 1)))
