"""The deadline and the values as headers: exact in form, shorter only, no injection."""

from __future__ import annotations

import re
import sys
import types
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tether import Key, background
from tether._keys import wired
from tether.wire import (
    ACCEPTED,
    DEADLINE,
    REQUEST_ID,
    TIMEOUT,
    Inbound,
    Outbound,
    format_grpc_timeout,
    format_milliseconds,
    parse_grpc_timeout,
    parse_milliseconds,
    rejected,
    request_id,
)

TENANT: Key[str] = Key("tenant", wire="X-Wire-Tenant")
SECRET: Key[str] = Key("secret")

NOT_NUMBERS = [
    *["", " ", "-1", "+1", "1.5", "1e3", "1_0", "0x1", " 1", "1 ", "1\n", "1,2"],
    *["\u0663", "\uff11", "\u00b2", "inf", "nan", "99999999999"],
]
NOT_GRPC = [
    *["", "S", "5", "-5S", "5s", "123456789S", "1e3S", "\u0663S", " 5S", "5 S", "1_0S"],
    *["5SS", "0x1S", "5S\n"],
]

seconds = st.floats(min_value=0, max_value=9_000_000)


def left(value: str, name: str = TIMEOUT) -> float | None:
    return Inbound().read([(name.encode(), value.encode())]).timeout


# -- one number ----------------------------------------------------------------------


@given(seconds)
def test_milliseconds_come_back_within_one_and_never_longer(value: float) -> None:
    back = parse_milliseconds(format_milliseconds(value))
    assert back is not None
    assert value - 0.001 < back <= value * (1 + 1e-12)


@given(st.floats(min_value=0, max_value=10**11))
def test_grpc_timeouts_come_back_and_never_longer(value: float) -> None:
    text = format_grpc_timeout(value)
    assert len(text) <= 9
    back = parse_grpc_timeout(text)
    assert back is not None
    assert value - max(1e-9, value * 0.001) <= back <= value * (1 + 1e-12)


@given(st.one_of(st.text(), st.binary()))
def test_whatever_is_parsed_was_digits(text: str | bytes) -> None:
    if (value := parse_milliseconds(text)) is not None:
        assert set(text if isinstance(text, str) else text.decode()) <= {*"0123456789"}
        assert 0 <= value < 10**7
    if (value := parse_grpc_timeout(text)) is not None:
        assert value >= 0


@pytest.mark.parametrize("text", NOT_NUMBERS)
def test_what_is_not_exactly_a_number_does_not_count(text: str) -> None:
    assert parse_milliseconds(text) is None
    assert parse_milliseconds(text.encode()) is None


@pytest.mark.parametrize("text", NOT_GRPC)
def test_what_is_not_exactly_a_grpc_timeout_does_not_count(text: str) -> None:
    assert parse_grpc_timeout(text) is None
    assert parse_grpc_timeout(text.encode()) is None


def test_a_limit_beyond_all_bounds_has_a_form() -> None:
    assert format_milliseconds(float("inf")) == "9999999999"
    assert format_grpc_timeout(float("inf")) == "99999999H"
    for form in (format_milliseconds, format_grpc_timeout):
        with pytest.raises(ValueError):
            form(float("nan"))
        with pytest.raises(TypeError):
            form("1")  # type: ignore[arg-type]


# -- what arrives --------------------------------------------------------------------


@pytest.mark.parametrize("name", ACCEPTED)
def test_all_accepted_headers_are_understood(name: str) -> None:
    text = "1500m" if name == "grpc-timeout" else "1500"
    assert left(text, name) == 1.5
    assert left("nonsense", name) is None


@given(
    own=st.none() | st.floats(min_value=0.1, max_value=100),
    most=st.none() | st.floats(min_value=0.1, max_value=100),
    told=st.lists(st.integers(min_value=0, max_value=200_000), max_size=3),
)
def test_a_caller_can_only_shorten(
    own: float | None, most: float | None, told: list[int]
) -> None:
    inbound = Inbound(timeout=own, max_timeout=most)
    headers = [(TIMEOUT.encode(), b"%d" % one) for one in told]
    timeout = inbound.read(headers).timeout
    if own is not None:
        assert timeout is not None
        assert timeout <= own
    if not told:
        assert timeout == own
        return
    assert timeout is not None
    if min(told) < 5:
        assert timeout == 0.0  # below the floor
        return
    limits = [x for x in (own, most) if x is not None]
    assert timeout == min([min(told) / 1000, *limits])


def test_the_smallest_of_several_counts() -> None:
    headers = [
        (b"x-envoy-expected-rq-timeout-ms", b"9000"),
        (b"grpc-timeout", b"3S"),
        (b"x-request-timeout-ms", b"4000"),
        (b"x-request-timeout-ms", b"nonsense"),
    ]
    assert Inbound(timeout=30.0).read(headers).timeout == 3.0
    assert Inbound(accepted=(TIMEOUT,)).read(headers).timeout == 4.0
    assert Inbound(accepted=()).read(headers).timeout is None


def test_garbage_is_counted() -> None:
    before = rejected()
    headers = [
        (b"grpc-timeout", b"soon"),
        (b"x-request-id", b"a b"),
        (b"x-wire-tenant", b"%ff"),
        (b"x-wire-tenant", b"a%0db"),
        (b"x-wire-tenant", "\u00eb".encode()),
        (b"x-wire-tenant", b"a" * 1025),
    ]
    arrived = Inbound().read(headers, trusted=True)
    after = rejected()
    assert arrived.values == ()
    assert {name: after[name] - before.get(name, 0) for name in after} == {
        **dict.fromkeys(before, 0),
        "grpc-timeout": 1,
        "x-request-id": 1,
        "x-wire-tenant": 4,
    }


@pytest.mark.parametrize(
    "text", ["", "a b", "a\r\nb", "\u00eb", "x" * 129, '"', "a;b", "<script>"]
)
def test_an_insane_request_id_is_replaced(text: str) -> None:
    arrived = Inbound().read([(b"x-request-id", text.encode())])
    assert re.fullmatch("[0-9a-f]{16}-[0-9]+", arrived.request_id)


@pytest.mark.parametrize("text", ["a", "7d1.x_y-Z", "x" * 128])
def test_a_sane_request_id_is_kept(text: str) -> None:
    arrived = Inbound().read([(b"x-request-id", text.encode())])
    assert arrived.request_id == text
    assert arrived.onto(background()).value(REQUEST_ID) == text


def test_new_request_ids_differ() -> None:
    assert len({request_id() for _ in range(1000)}) == 1000


def test_values_are_read_from_the_trusted_alone() -> None:
    headers = [(b"x-wire-tenant", b"acme"), (b"secret", b"x"), (b"x-other", b"y")]
    assert Inbound().read(headers).values == ()
    arrived = Inbound().read(headers, trusted=True)
    assert arrived.values == ((TENANT, "acme"),)
    ctx = arrived.onto(background())
    assert ctx.value(TENANT) == "acme"
    assert ctx.value(SECRET) is None


def test_bad_limits_are_refused() -> None:
    wrong: list[tuple[dict[str, Any], type[Exception]]] = [
        ({"timeout": 0}, ValueError),
        ({"timeout": float("nan")}, ValueError),
        ({"timeout": "1"}, TypeError),
        ({"max_timeout": -1}, ValueError),
        ({"floor": -1}, ValueError),
        ({"skew": -1}, ValueError),
        ({"accepted": "grpc-timeout"}, TypeError),
    ]
    for options, error in wrong:
        with pytest.raises(error):
            Inbound(**options)
    with pytest.raises(ValueError):
        Outbound(allowance=-1)


# -- what leaves ---------------------------------------------------------------------


@given(st.text())
def test_every_printable_value_comes_back_and_none_ends_its_header(text: str) -> None:
    headers: dict[str, str] = {}
    Outbound().write(background().with_value(TENANT, text), headers)
    [value] = headers.values()
    assert value.isascii()
    assert not {*value} & {*" \t\r\n\0"}
    raw = [(b"x-wire-tenant", value.encode())]
    values = Inbound().read(raw, trusted=True).values
    fits = len(value) <= 1024 and text.isprintable()
    if fits and not any("\ud800" <= c <= "\udfff" for c in text):
        assert values == ((TENANT, text),)


@given(seconds)
def test_what_is_sent_is_never_more_than_what_is_left(value: float) -> None:
    headers: dict[str, str] = {}
    ctx = background().with_timeout(value)
    Outbound(allowance=0.002).write(ctx, headers)
    sent = parse_milliseconds(headers[TIMEOUT])
    assert sent is not None
    assert sent <= max(0.0, value - 0.002) + 1e-9
    ctx.cancel()


def test_only_declared_values_leave() -> None:
    headers = {"x-request-id": "by hand", TIMEOUT: "77"}
    ctx = background().with_value(SECRET, "s").with_value(REQUEST_ID, "7d1")
    Outbound().write(ctx.with_value(TENANT, "acme"), headers)
    assert headers == {
        "x-request-id": "by hand",
        TIMEOUT: "77",
        "x-wire-tenant": "acme",
    }
    nothing: dict[str, str] = {}
    with ctx.with_timeout(9.0) as scope:
        Outbound(timeout=None, values=False, trace=False).write(scope, nothing)
    assert nothing == {}


def test_a_value_that_is_no_string_is_refused() -> None:
    key: Key[Any] = TENANT
    with pytest.raises(TypeError, match="must be a string"):
        Outbound().write(background().with_value(key, 7), {})


def test_the_header_can_have_another_name() -> None:
    headers: dict[str, str] = {}
    with background().with_timeout(9.0) as ctx:
        Outbound(timeout="x-envoy-upstream-rq-timeout-ms").write(ctx, headers)
    assert [*headers] == ["x-envoy-upstream-rq-timeout-ms"]


@pytest.fixture
def opentelemetry(monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.ModuleType("opentelemetry.propagate")

    def inject(headers: dict[str, str]) -> None:
        headers["traceparent"] = "00-abc-def-01"

    vars(module)["inject"] = inject
    monkeypatch.setitem(sys.modules, "opentelemetry.propagate", module)


@pytest.mark.usefixtures("opentelemetry")
def test_the_trace_goes_along_where_opentelemetry_is_loaded() -> None:
    headers: dict[str, str] = {}
    Outbound().write(background(), headers)
    assert headers == {"traceparent": "00-abc-def-01"}
    headers = {"traceparent": "by hand"}
    Outbound().write(background(), headers)
    assert headers == {"traceparent": "by hand"}


# -- queues --------------------------------------------------------------------------


def test_a_message_has_the_budget_and_the_instant_and_the_smaller_counts() -> None:
    sent = 1_800_000_000.0
    message: dict[str, str] = {}
    with background().with_timeout(30.0) as ctx:
        Outbound().write(ctx, message, now=sent)
    raw = [(name.encode(), text.encode()) for name, text in message.items()]
    assert int(message[DEADLINE]) == pytest.approx((sent + 30) * 1000, abs=1000)
    inbound = Inbound(skew=1.0)
    fresh = inbound.read(raw, now=sent).timeout
    assert fresh == pytest.approx(29.998, abs=0.5)
    old = inbound.read(raw, now=sent + 20).timeout
    assert old == pytest.approx(11.0, abs=0.5)
    assert inbound.read(raw, now=sent + 40).timeout == 0.0
    # A request says nothing of instants: there clocks would have to agree.
    assert inbound.read(raw).timeout == fresh
    assert inbound.read([(DEADLINE.encode(), b"soon")], now=sent).timeout is None


LATE = "the caller's time was over {} s before this came"


@pytest.mark.parametrize(
    ("age", "skew", "timeout", "said"),
    [
        (0.0, 0.1, 0.998, "the caller had 0.998 s left"),
        (0.8, 0.1, 0.3, "the caller had 0.2 s left, and clocks may differ by 0.1 s"),
        (0.8, 0.0, 0.2, "the caller had 0.2 s left"),
        (1.5, 1.0, 0.5, f"{LATE.format(0.5)}, and clocks may differ by 1 s"),
        (3.0, 0.0, 0.0, LATE.format(2)),
    ],
)
def test_what_is_allowed_for_clocks_is_not_said_to_be_the_callers(
    age: float, skew: float, timeout: float, said: str
) -> None:
    sent = 1_800_000_000.0
    message = [
        (TIMEOUT.encode(), b"998"),
        (DEADLINE.encode(), str(int((sent + 1.0) * 1000)).encode()),
    ]
    arrived = Inbound(skew=skew).read(message, now=sent + age)
    assert arrived.timeout == pytest.approx(timeout, abs=1e-6)
    assert str(arrived.cause) == said


def test_a_message_is_a_tenth_of_a_second_late_at_most() -> None:
    message = [(DEADLINE.encode(), b"1800000000000")]
    assert Inbound().read(message, now=1_800_000_000.0).timeout == 0.1
    assert Inbound().read(message, now=1_800_000_000.1).timeout == 0.0


# -- keys ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        *["", "x tenant", "x\r\ny", "x:y", "\u00eb", "Host", "content-length"],
        *["authorization", "cookie", "grpc-timeout", TIMEOUT, DEADLINE, "traceparent"],
        *["grpc-user", "x-token-bin", "X-Token-Bin"],
    ],
)
def test_a_header_that_means_something_else_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="x-tenant"):
        Key("k", wire=name)


def test_two_keys_do_not_share_a_header() -> None:
    assert TENANT.wire == "x-wire-tenant"
    with pytest.raises(ValueError, match="taken"):
        Key("another", wire="x-wire-tenant")
    with pytest.raises(TypeError):
        Key("k", wire=7)  # type: ignore[arg-type]
    once: Key[str] = Key("again", wire="x-wire-again")
    again: Key[str] = Key("again", wire="x-wire-again")  # a module loaded anew
    assert wired[b"x-wire-again"] is again is not once
    del wired[b"x-wire-again"]
