"""Deadlines and chosen values as headers, and back.

    Outbound().write(ctx, headers)            # before a request is sent
    arrived = Inbound(timeout=30.0).read(scope["headers"])
    with arrived.onto(background()).with_timeout(arrived.timeout) as request: ...

What crosses is the time that is left, not an instant, so clocks need not agree; it is
worked out anew at each send. Nothing here reads or writes a socket.

What must hold:

1. A caller can only shorten. What it sends is at most what this side allows by itself.
2. What is not exactly of the expected form does not count: ASCII digits, a few of them,
   and nothing else. It is ignored, and counted in `rejected()`.
3. No value can end a header and begin another one: what is not plain ASCII leaves in
   percent-encoding, and what does not come back as printable text is rejected.
4. What is sent is never more than what is left; it is rounded down.
"""

from __future__ import annotations

import os
import re
import sys
import threading
from collections.abc import Iterable, MutableMapping
from dataclasses import dataclass, field
from itertools import count
from typing import NamedTuple
from urllib.parse import quote, unquote

from . import _watching
from ._checks import seconds_
from ._clock import INF
from ._context import Context
from ._keys import Key, wired

__all__ = [
    "ACCEPTED",
    "DEADLINE",
    "REQUEST_ID",
    "TIMEOUT",
    "Arrived",
    "CallerTimeout",
    "Inbound",
    "Outbound",
    "format_grpc_timeout",
    "format_milliseconds",
    "parse_grpc_timeout",
    "parse_milliseconds",
    "rejected",
    "request_id",
]

TIMEOUT = "x-request-timeout-ms"
"""The header that is written: what is left, in whole milliseconds."""

DEADLINE = "x-request-deadline-ms"
"""For messages only: when it is over, in milliseconds since 1970, UTC."""

ACCEPTED = (
    TIMEOUT,
    "grpc-timeout",
    "x-envoy-expected-rq-timeout-ms",
    "x-envoy-upstream-rq-timeout-ms",
    "connect-timeout-ms",
)
"""The headers that are read unless an `Inbound` says otherwise; the smallest counts."""

REQUEST_ID: Key[str] = Key("request-id", wire="x-request-id")
"""The id of the request that the work belongs to: from the caller, or made."""

_ID = re.compile(rb"[A-Za-z0-9._-]{1,128}")
_PLAIN = "".join(c for c in map(chr, range(0x21, 0x7F)) if c != "%")
_LONGEST = 1024  # bytes of a value


# -- one number ----------------------------------------------------------------------


def format_milliseconds(seconds: float) -> str:
    """Whole milliseconds, rounded down, at most ten digits.

    >>> format_milliseconds(1.2509), format_milliseconds(-1)
    ('1250', '0')
    """
    seconds = seconds_("seconds", seconds)
    return str(int(min(max(seconds * 1000, 0), 9_999_999_999)))


def parse_milliseconds(text: str | bytes) -> float | None:
    """The seconds that 1 to 10 ASCII digits mean, None for everything else.

    >>> parse_milliseconds("1250"), parse_milliseconds("1e3"), parse_milliseconds("-1")
    (1.25, None, None)
    """
    # isdigit() alone knows the digits of all the world's scripts.
    if len(text) > 10 or not text.isascii() or not text.isdigit():
        return None
    return int(text) / 1000


# In nanoseconds, the finest first.
_UNITS = {"n": 1, "u": 10**3, "m": 10**6, "S": 10**9, "M": 6 * 10**10, "H": 36 * 10**11}


def format_grpc_timeout(seconds: float) -> str:
    """What gRPC calls a TimeoutValue: at most eight digits and a unit, rounded down.

    >>> format_grpc_timeout(0.25), format_grpc_timeout(3600)
    ('250000u', '3600000m')
    """
    left = max(seconds_("seconds", seconds), 0) * 1e9
    for unit, size in _UNITS.items():
        if left < 10**8 * size:
            return f"{int(left // size)}{unit}"
    return "99999999H"


def parse_grpc_timeout(text: str | bytes) -> float | None:
    """The seconds of a `grpc-timeout`, None for everything that is not one.

    >>> parse_grpc_timeout("250m"), parse_grpc_timeout("1H"), parse_grpc_timeout("1s")
    (0.25, 3600.0, None)
    """
    if isinstance(text, bytes):
        text = text.decode("latin-1")
    digits, size = text[:-1], _UNITS.get(text[-1:])
    if size is None or len(digits) > 8 or not digits.isascii() or not digits.isdigit():
        return None
    return int(digits) * size / 1e9


# -- what arrives --------------------------------------------------------------------


class CallerTimeout(Exception):
    """The caller had no more time to give: the `cause()` of a deadline that it set."""


class Arrived(NamedTuple):
    """What a request brought along, as far as this side believes it."""

    timeout: float | None
    """What the request may take in seconds; None: no limit; 0: it is over already."""

    request_id: str
    """The caller's, or a new one."""

    values: tuple[tuple[Key[str], str], ...] = ()
    """The values of a trusted caller."""

    cause: CallerTimeout | None = None
    """If `timeout` is what the caller had left: says so, for `with_timeout`."""

    def onto(self, ctx: Context) -> Context:
        """The context with the request id and the values; not yet with the timeout."""
        ctx = ctx.with_value(REQUEST_ID, self.request_id)
        for key, value in self.values:
            ctx = ctx.with_value(key, value)
        return ctx


@dataclass(frozen=True)
class Inbound:
    """What is believed of what callers say. Make one for each server, and reuse it.

    `timeout` is this side's own limit, in seconds. A caller can only shorten it. Where
    there is none, `max_timeout` is the most that a caller can ask for. One that leaves
    less than `floor` gets 0, which is to be answered with 504 and no work: it would
    only be begun to be canceled. `accepted` are the headers that are read.

        >>> Inbound(timeout=30.0).read([(b"x-request-timeout-ms", b"1500")]).timeout
        1.5
        >>> Inbound(timeout=30.0).read([(b"grpc-timeout", b"1H")]).timeout
        30.0
    """

    timeout: float | None = None
    max_timeout: float | None = None
    floor: float = 0.005
    accepted: tuple[str, ...] = ACCEPTED
    skew: float = 0.1
    """By how many seconds the clocks of a queue's two sides may differ.

    So late a message is still read, and so much longer may its work go on. Where clocks
    differ by more it has less time than it was given, or none.
    """

    _most: float = field(init=False, repr=False, compare=False, default=INF)
    _known: dict[bytes, str] = field(
        init=False, repr=False, compare=False, default_factory=dict
    )

    def __post_init__(self) -> None:
        for name in ("timeout", "max_timeout"):
            limit = getattr(self, name)
            if limit is not None and not seconds_(name, limit) > 0:
                raise ValueError(f"{name} is above 0 or None, not {limit!r}")
        for name in ("floor", "skew"):
            if seconds_(name, getattr(self, name)) < 0:
                raise ValueError(f"{name} is not below 0")
        if isinstance(self.accepted, str):
            raise TypeError("accepted is a tuple of names, not one name")
        limits = [x for x in (self.timeout, self.max_timeout) if x is not None]
        object.__setattr__(self, "_most", min(limits, default=INF))
        for name in self.accepted:
            self._known[name.lower().encode("ascii")] = name.lower()

    def read(
        self,
        headers: Iterable[tuple[bytes, bytes]],
        *,
        trusted: bool = False,
        now: float | None = None,
    ) -> Arrived:
        """What these headers say; their names in lower case, as in ASGI.

        The deadline and the request id count from everybody: the one can only
        shorten, the other is only a name. Values count from a `trusted` caller. `now`
        is for messages: the time in seconds since 1970, to which the absolute deadline
        of a message is compared.
        """
        told = over = INF
        ident: bytes | None = None
        values: list[tuple[Key[str], str]] = []
        known = self._known
        for name, value in headers:
            if name in known:
                parse = parse_milliseconds
                if name == b"grpc-timeout":
                    parse = parse_grpc_timeout
                left = parse(value)
                if left is None:
                    _reject(known[name])
                elif left < told:
                    told = left
            elif name == b"x-request-id":
                if _ID.fullmatch(value):
                    ident = value
                else:
                    _reject("x-request-id")
            elif trusted and name in wired:
                text = _value(value)
                if text is None:
                    _reject(name.decode())
                else:
                    values.append((wired[name], text))
            elif now is not None and name == b"x-request-deadline-ms":
                left = _until(value, now)
                if left is None:
                    _reject(DEADLINE)
                else:
                    over = min(over, left)
        timeout, cause = self.timeout, None
        lay = over + self.skew < told  # for long enough that the instant counts
        if lay:
            told = max(0.0, over + self.skew)
        if told != INF:
            timeout = 0.0 if told < self.floor else min(told, self._most)
            if told <= self._most:
                said = _said(over, self.skew) if lay else _said(told)
                cause = CallerTimeout(said)
        known_id = request_id() if ident is None else ident.decode()
        return Arrived(timeout, known_id, tuple(values), cause)


def _until(text: bytes, now: float) -> float | None:
    if len(text) > 15 or not text.isascii() or not text.isdigit():
        return None
    return int(text) / 1000 - now


def _said(left: float, skew: float = 0.0) -> str:
    if left < 0:
        said = f"the caller's time was over {-left:.6g} s before this came"
    else:
        said = f"the caller had {left:.6g} s left"
    return f"{said}, and clocks may differ by {skew:.6g} s" if skew else said


def _value(text: bytes) -> str | None:
    """What was written by `Outbound`, if it is that."""
    if len(text) > _LONGEST or not text.isascii():
        return None
    try:
        value = unquote(text.decode(), errors="strict")
    except UnicodeDecodeError:
        return None
    return value if value.isprintable() else None


def request_id() -> str:
    """A new id: 16 hexadecimal digits of this process and a number, "8f…c1-42"."""
    return f"{_process}-{next(_numbers)}"


def _begin() -> None:
    """Take another name for the process; in a forked child, too."""
    global _process, _numbers
    _process, _numbers = os.urandom(8).hex(), count(1)


# A random number for each would cost three times as much, and a UUID twenty times.
_process: str
_numbers: count[int]
_begin()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin)


_rejections: dict[str, int] = {}
_counting = threading.Lock()


def _reject(name: str) -> None:
    with _counting:
        _rejections[name] = _rejections.get(name, 0) + 1


def rejected() -> dict[str, int]:
    """How often each header was ignored because it was not of the expected form."""
    with _counting:
        return dict(_rejections)


# -- what leaves ---------------------------------------------------------------------


@dataclass(frozen=True)
class Outbound:
    """What is told to those who are called. Make one for each client, and reuse it.

    `timeout` is the header for the time that is left, None to tell nobody; `allowance`
    is what is taken off it for the way. `values` also sends the request id and the
    other values whose keys have a wire name, `trace` the trace if OpenTelemetry is
    loaded. All of it is meant for services of your own:

        >>> stranger = Outbound(timeout=None, values=False, trace=False)
    """

    timeout: str | None = TIMEOUT
    allowance: float = 0.002
    values: bool = True
    trace: bool = True

    def __post_init__(self) -> None:
        if seconds_("allowance", self.allowance) < 0:
            raise ValueError("allowance is not below 0")

    def write(
        self,
        ctx: Context,
        headers: MutableMapping[str, str],
        *,
        now: float | None = None,
    ) -> None:
        """Put into `headers` what is to be told of `ctx`.

        The time replaces what may be there from an earlier send; a value that the
        caller has set by hand stays. For a message that waits in a queue pass the time
        in seconds since 1970 as `now`, and the instant is written as well.

            >>> from tether import background
            >>> headers: dict[str, str] = {}
            >>> with background().with_timeout(2.0) as ctx:
            ...     Outbound().write(ctx.with_value(REQUEST_ID, "7d1"), headers)
            >>> headers["x-request-id"], 1900 < int(headers["x-request-timeout-ms"])
            ('7d1', True)
        """
        left = ctx.remaining()
        told = self.timeout is not None and left != INF
        # A message may well have no time: nobody waits for it.
        if _watching.calling is not None and (told or now is None):
            _watching.calling(left, _watching.SERVICE)
        if self.timeout is not None and told:
            headers[self.timeout] = format_milliseconds(left - self.allowance)
            if now is not None:
                headers[DEADLINE] = str(max(0, int((now + left) * 1000)))
        if self.values:
            # A copy: another thread may import a module that declares one.
            for name, key in [*wired.items()]:
                value = ctx.value(key)
                if value is not None and (header := name.decode()) not in headers:
                    headers[header] = _header(key, value)
        if self.trace:
            opentelemetry = sys.modules.get("opentelemetry.propagate")
            if opentelemetry is not None and "traceparent" not in headers:
                opentelemetry.inject(headers)


def _header(key: Key[object], value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(
            f"the value of {key!r} crosses as a header and must be a string, "
            f"not {value!r}"
        )
    return quote(value, safe=_PLAIN, errors="replace")
