"""Calls that a server answers: their contexts end, in threads and in tasks."""

from __future__ import annotations

import asyncio
import logging
import queue
import threading
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any
from weakref import ref

import grpc
import grpc.aio
import pytest
from opentelemetry import propagate, trace  # noqa: F401
from prometheus_client import CollectorRegistry

from tests.ext.grpc_serving import (
    DEADLINES,
    FLAVORS,
    KINDS,
    PATIENCE,
    Ends,
    Requests,
    Sent,
    Served,
    begun,
    samples,
    serving,
    task_methods,
    thread_methods,
    until_gone,
    without_collector,
)
from tether import (
    Canceled,
    ClientDisconnected,
    Context,
    DeadlineExceeded,
    Key,
    background,
    current,
)
from tether.ext.grpc import ServerInterceptor, ServerStopped
from tether.testing import VirtualClock
from tether.wire import REQUEST_ID, CallerTimeout

TENANT: Key[str] = Key("tenant-of-grpc", wire="x-grpc-tenant")
TYPES = dict(
    zip(KINDS, ["unary", "server_stream", "client_stream", "bidi_stream"], strict=True)
)


@pytest.fixture
def ends() -> Ends:
    return Ends()


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture(autouse=True)
def no_complaint_of_grpc(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Fail a test in which gRPC had an error to log."""
    yield
    said = [r for r in caplog.get_records("call") if r.name.startswith("grpc")]
    bad = [r.getMessage() for r in said if r.levelno >= logging.WARNING]
    # With or without us, when a client leaves while something is sent to it.
    bad = [text for text in bad if not text.startswith("ExecuteBatchError raised in")]
    assert not bad


@pytest.fixture(params=FLAVORS)
def served(
    request: pytest.FixtureRequest, ends: Ends, registry: CollectorRegistry
) -> Iterator[Any]:
    methods = thread_methods(ends), task_methods(ends)
    with serving(request.param, *methods, metrics=registry) as server:
        yield server


def until_handled(
    registry: CollectorRegistry,
    code: str,
    kind: str,
    name: str = "",
    *,
    at_most: int = 1,
) -> None:
    """The handler, or gRPC, tells of its end before the call is counted."""
    series = "grpc_server_handled_total", code, name or kind, "shop.Stock", TYPES[kind]
    with background().with_timeout(PATIENCE) as patience:
        while not samples(registry).get(series):  # a series begins with a zero
            patience.sleep(0.002)
    assert samples(registry)[series] <= at_most


@pytest.mark.parametrize("kind", KINDS)
def test_the_deadline_of_the_caller_ends_the_context_of_the_call(
    kind: str, served: Served, ends: Ends, registry: CollectorRegistry
) -> None:
    for seconds in DEADLINES:
        with begun(served, kind, timeout=seconds) as rpc:
            assert rpc.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        if not ends.begun.empty():
            break
    err, cause = ends.ended.get(timeout=PATIENCE)
    assert isinstance(err, DeadlineExceeded)
    assert isinstance(cause, CallerTimeout)
    until_handled(registry, "DeadlineExceeded", kind, at_most=len(DEADLINES))


@pytest.mark.parametrize("kind", KINDS)
def test_a_cancel_of_the_caller_ends_the_context_of_the_call(
    kind: str, served: Served, ends: Ends, registry: CollectorRegistry
) -> None:
    with begun(served, kind, timeout=PATIENCE) as rpc:
        ends.begun.get(timeout=PATIENCE)
        rpc.cancel()
        assert rpc.code() is grpc.StatusCode.CANCELLED
        err, cause = ends.ended.get(timeout=PATIENCE)
    assert isinstance(err, Canceled)
    assert isinstance(cause, ClientDisconnected)
    until_handled(registry, "Canceled", kind)


@pytest.mark.parametrize("kind", KINDS)
def test_a_stop_ends_the_calls_with_its_cause_and_says_so_to_their_callers(
    kind: str, served: Any, ends: Ends, registry: CollectorRegistry
) -> None:
    with begun(served, kind) as rpc:
        ends.begun.get(timeout=PATIENCE)
        stopping = threading.Thread(target=served.stop, args=(0.05,))
        stopping.start()
        err, cause = ends.ended.get(timeout=PATIENCE)
        if kind.startswith("unary"):
            assert rpc.code() is grpc.StatusCode.UNAVAILABLE
        stopping.join()
    assert isinstance(err, Canceled)
    assert isinstance(cause, ServerStopped)
    until_handled(registry, "Unavailable", kind)


@pytest.mark.parametrize("kind", KINDS)
def test_the_stop_of_grpc_itself_ends_the_contexts_too(
    kind: str, served: Any, ends: Ends
) -> None:
    with begun(served, kind) as rpc:
        ends.begun.get(timeout=PATIENCE)
        served.stop_bare(0.05)
        err, cause = ends.ended.get(timeout=PATIENCE)
        rpc.code()
    assert isinstance(err, Canceled)
    assert isinstance(cause, ClientDisconnected)


@pytest.mark.parametrize("kind", ["unary_unary", "unary_stream"])
@pytest.mark.parametrize("flavor", FLAVORS)
def test_the_limit_of_the_server_is_answered_as_a_deadline(
    flavor: str, kind: str, ends: Ends
) -> None:
    methods = thread_methods(ends), task_methods(ends)
    with serving(flavor, *methods, timeout=0.1) as served, begun(served, kind) as rpc:
        assert rpc.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        assert rpc.rpc.details() == "context deadline exceeded"
    err, _ = ends.ended.get(timeout=PATIENCE)
    assert isinstance(err, DeadlineExceeded)
    assert "budget set at ext/grpc_serving.py:" in err.detail  # where it was made


def own_budget(_: object, sc: object) -> bytes:
    with current().with_timeout(0.01) as budget:
        budget.sleep(PATIENCE)
    return b""


async def own_budget_in_a_task(_: object, sc: object) -> bytes:
    with current().with_timeout(0.01) as budget:
        await budget.sleep_async(PATIENCE)
    return b""


def handlers(**functions: Any) -> dict[str, Any]:
    return {
        name: grpc.unary_unary_rpc_method_handler(function)
        for name, function in functions.items()
    }


@pytest.mark.parametrize("flavor", FLAVORS)
def test_a_budget_of_the_handler_is_answered_as_a_deadline(flavor: str) -> None:
    methods = handlers(Get=own_budget), handlers(Get=own_budget_in_a_task)
    with serving(flavor, *methods) as served:
        with pytest.raises(grpc.RpcError) as caught:
            served.method("Get")(b"")
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED


@pytest.mark.parametrize("flavor", FLAVORS)
def test_a_handler_of_a_thread_has_its_context_on_a_server_of_either_kind(
    flavor: str,
) -> None:
    with serving(flavor, handlers(Get=own_budget)) as served:
        with pytest.raises(grpc.RpcError) as caught:
            served.method("Get")(b"")
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED


def say_who(_: object, sc: object) -> bytes:
    ctx = current()
    ident, tenant = ctx.value(REQUEST_ID), ctx.value(TENANT)
    return f"{ident} {tenant} {ctx.label}".encode()


async def say_who_in_a_task(request: object, sc: object) -> bytes:
    return say_who(request, sc)


@pytest.mark.parametrize("trust", [False, True])
@pytest.mark.parametrize("flavor", FLAVORS)
def test_the_request_id_counts_from_everybody_and_values_from_whom_is_trusted(
    flavor: str, trust: bool
) -> None:
    methods = handlers(Get=say_who), handlers(Get=say_who_in_a_task)
    metadata = [("x-request-id", "7d1"), ("x-grpc-tenant", "blue"), ("a-bin", b"\xff")]
    with serving(flavor, *methods, trust=trust) as served:
        answer = served.method("Get")(b"", metadata=metadata)
    tenant = "blue" if trust else "None"
    assert answer == f"7d1 {tenant} /shop.Stock/Get".encode()


def refuse(_: object, sc: Any) -> bytes:
    sc.abort(grpc.StatusCode.NOT_FOUND, "no such book")
    raise AssertionError


async def refuse_in_a_task(_: object, sc: Any) -> bytes:
    await sc.abort(grpc.StatusCode.NOT_FOUND, "no such book")
    raise AssertionError


@pytest.mark.parametrize("flavor", FLAVORS)
def test_other_ends_are_what_they_were_and_are_counted_in_gos_words(
    flavor: str, registry: CollectorRegistry
) -> None:
    methods = (
        handlers(Get=say_who, No=refuse),
        handlers(Get=say_who_in_a_task, No=refuse_in_a_task),
    )
    with serving(flavor, *methods, metrics=registry) as served:
        served.method("Get")(b"", timeout=PATIENCE)
        with pytest.raises(grpc.RpcError) as caught:
            served.method("No")(b"")
        assert caught.value.code() is grpc.StatusCode.NOT_FOUND
        assert caught.value.details() == "no such book"
        until_handled(registry, "NotFound", "unary_unary", "No")
    found = samples(registry)
    get, no = ("Get", "shop.Stock", "unary"), ("No", "shop.Stock", "unary")
    assert found["grpc_server_started_total", *get] == 1
    assert found["grpc_server_handled_total", "OK", *get] == 1
    assert found["grpc_server_handled_total", "NotFound", *no] == 1
    assert found["grpc_server_handling_seconds_count", *get] == 1
    assert found["grpc_server_msg_received_total", *get] == 1
    assert found["grpc_server_msg_sent_total", *get] == 1
    assert found["grpc_server_deadline_left_seconds_count", *get] == 1
    assert found["grpc_server_deadline_left_seconds_sum", *get] > PATIENCE - 1
    # gRPC's way of sending it rounds up.
    assert found["grpc_server_deadline_left_seconds_sum", *get] <= 1.01 * PATIENCE


def test_a_call_that_expires_before_it_gets_a_thread_never_runs_and_is_counted(
    registry: CollectorRegistry,
) -> None:
    free, busy = threading.Event(), threading.Event()
    ran: list[bytes] = []

    def hold(request: bytes, _: object) -> bytes:
        ran.append(request)
        busy.set()
        free.wait(PATIENCE)
        return b""

    with serving("threads", handlers(Hold=hold), workers=1, metrics=registry) as served:
        first = served.method("Hold").future(b"first")
        assert busy.wait(PATIENCE)
        late = [served.method("Hold").future(b"late", timeout=0.1) for _ in range(3)]
        codes = [Sent(rpc, many=False).code() for rpc in late]
        free.set()
        first.result(PATIENCE)
        assert served.method("Hold")(b"last") == b""
        assert codes == [grpc.StatusCode.DEADLINE_EXCEEDED] * 3
        assert ran == [b"first", b"last"]
        # The thread that found them over may still hold the last one.
        with background().with_timeout(PATIENCE) as patience:
            while served.calls.dropped < 3:
                patience.sleep(0.002)
        dropped = "grpc_server_dropped_total", "Hold", "shop.Stock", "unary"
        assert samples(registry)[dropped] == 3


@pytest.mark.parametrize("flavor", FLAVORS)
def test_cleanup_of_a_canceled_handler_runs_to_its_end(flavor: str, ends: Ends) -> None:
    cleaned = threading.Event()

    async def tidy(_: object, sc: object) -> bytes:
        with current().with_cancel() as inner:
            ends.begin()
            try:
                await inner.sleep_async(PATIENCE)
            finally:
                await asyncio.sleep(0.01)
                cleaned.set()
        return b""

    def tidy_in_a_thread(_: object, sc: object) -> bytes:
        try:
            ends.begin().sleep(PATIENCE)
        finally:
            cleaned.set()
        return b""

    methods = handlers(unary_unary=tidy_in_a_thread), handlers(unary_unary=tidy)
    with serving(flavor, *methods) as served, begun(served, "unary_unary") as rpc:
        ends.begun.get(timeout=PATIENCE)
        rpc.cancel()
        assert cleaned.wait(PATIENCE)


def test_a_canceled_call_ends_what_a_thread_of_it_waits_for(ends: Ends) -> None:
    cut = threading.Event()

    def wait(_: object, sc: object) -> bytes:
        with ends.begin().interrupting(cut.set):
            cut.wait(PATIENCE)
        return b""

    methods = handlers(unary_unary=wait)
    with serving("threads", methods) as served, begun(served, "unary_unary") as rpc:
        ends.begun.get(timeout=PATIENCE)
        rpc.cancel()
        assert cut.wait(PATIENCE)


def test_a_handler_that_sends_by_a_callback_is_left_to_grpc() -> None:
    limits: list[float | None] = []

    def watch(_: object, sc: Any, send: Any) -> None:
        limits.append(current().deadline)
        send(b"serving")
        sc.add_callback(lambda: send(None))

    watch.experimental_non_blocking = True  # type: ignore[attr-defined]

    methods: dict[str, Any] = {"Watch": grpc.unary_stream_rpc_method_handler(watch)}
    with serving("threads", methods, workers=1, timeout=30.0) as served:
        rpcs = [served.method("Watch", "unary_stream")(b"") for _ in range(3)]
        assert [next(rpc) for rpc in rpcs] == [b"serving"] * 3  # with one thread
        assert limits == [None] * 3  # what is to last has none
        assert served.calls.waiting == 0
        for rpc in rpcs:
            rpc.cancel()


def test_a_handler_keeps_the_threads_that_are_its_own() -> None:
    with ThreadPoolExecutor(1, thread_name_prefix="its-own") as pool:

        def where(_: object, sc: object) -> bytes:
            return threading.current_thread().name.encode()

        where.experimental_thread_pool = pool  # type: ignore[attr-defined]
        with serving("threads", handlers(Get=where)) as served:
            assert served.method("Get")(b"").startswith(b"its-own")


# -- what handlers may do -----------------------------------------------------------------


def echo(requests: Iterator[bytes], _: object) -> Iterator[bytes]:
    for request in requests:
        yield request.upper()


async def echo_in_a_task(requests: AsyncIterator[bytes], _: object) -> Any:
    async for request in requests:
        yield request.upper()


async def echo_by_hand(_: object, sc: Any) -> None:
    while (request := await sc.read()) is not grpc.aio.EOF:
        await sc.write(request.upper())


def bidi(function: Any) -> dict[str, Any]:
    return {"Echo": grpc.stream_stream_rpc_method_handler(function)}


@pytest.mark.parametrize(
    ("flavor", "function"),
    [
        ("threads", echo),
        ("tasks", echo),
        ("tasks", echo_in_a_task),
        ("tasks", echo_by_hand),
    ],
    ids=["threads", "plain", "tasks", "by-hand"],
)
def test_messages_come_through_as_they_were(
    flavor: str, function: Any, registry: CollectorRegistry
) -> None:
    words = [b"word %d" % n for n in range(50)]
    with serving(flavor, bidi(function), metrics=registry) as served:
        method = served.method("Echo", "stream_stream")
        assert [*method(iter(words))] == [word.upper() for word in words]
    until_handled(registry, "OK", "stream_stream", "Echo")
    if function is not echo_by_hand:  # which goes past us
        method = "Echo", "shop.Stock", "bidi_stream"
        found = samples(registry)
        assert found["grpc_server_msg_received_total", *method] == 50
        assert found["grpc_server_msg_sent_total", *method] == 50
        assert found["grpc_server_handled_total", "OK", *method] == 1


def impatient(requests: Iterator[bytes], _: object) -> Iterator[bytes]:
    yield next(requests)
    with pytest.raises(DeadlineExceeded), current().with_timeout(0.01):
        next(requests)
    yield b"nothing"
    yield next(requests)


async def impatient_in_a_task(requests: AsyncIterator[bytes], _: object) -> Any:
    yield await anext(requests)
    with pytest.raises(DeadlineExceeded):
        with current().with_timeout(0.01):
            await anext(requests)
    yield b"nothing"
    yield await anext(requests)


@pytest.mark.parametrize("flavor", FLAVORS)
def test_a_request_that_comes_after_a_wait_was_given_up_is_the_next_one(
    flavor: str,
) -> None:
    sending = Requests()
    methods = bidi(impatient), bidi(impatient_in_a_task)
    with serving(flavor, *methods) as served:
        answers = served.method("Echo", "stream_stream")(sending, timeout=PATIENCE)
        assert next(answers) == b"one"
        assert next(answers) == b"nothing"
        sending.put(b"two")
        assert next(answers) == b"two"
        sending.close()
        assert [*answers] == []


def shared(requests: Iterator[bytes], _: object) -> bytes:
    with ThreadPoolExecutor(2) as pool:
        halves = [*pool.map(lambda _: [*requests], range(2))]
    return b" ".join(sorted(halves[0] + halves[1]))


async def shared_in_a_task(requests: AsyncIterator[bytes], _: object) -> bytes:
    async def half() -> list[bytes]:
        return [request async for request in requests]

    halves = await asyncio.gather(half(), half())
    return b" ".join(sorted(halves[0] + halves[1]))


@pytest.mark.parametrize("flavor", FLAVORS)
def test_each_request_goes_to_one_of_those_who_read_at_once(flavor: str) -> None:
    methods: tuple[dict[str, Any], dict[str, Any]] = (
        {"Take": grpc.stream_unary_rpc_method_handler(shared)},
        {"Take": grpc.stream_unary_rpc_method_handler(shared_in_a_task)},
    )
    words = [b"%02d" % n for n in range(50)]
    with serving(flavor, *methods) as served:
        answer = served.method("Take", "stream_unary")(iter(words), timeout=PATIENCE)
    assert answer == b" ".join(words)


@pytest.mark.parametrize("flavor", FLAVORS)
def test_the_end_of_a_stream_of_requests_is_believed_without_a_wait(
    flavor: str, ends: Ends
) -> None:
    methods = thread_methods(ends), task_methods(ends)
    with serving(flavor, *methods) as served, VirtualClock():  # which stands still
        method = served.method("stream_unary", "stream_unary")
        assert method.future(iter([b"one"])).result(PATIENCE) == b"whole"


@pytest.mark.parametrize("flavor", FLAVORS)
def test_a_stream_of_requests_that_is_cut_off_has_not_ended(
    flavor: str, ends: Ends
) -> None:
    methods = thread_methods(ends), task_methods(ends)
    with serving(flavor, *methods, workers=40) as served:
        for _ in range(5):
            with ExitStack() as stack:
                rpcs = [
                    stack.enter_context(begun(served, "stream_unary"))
                    for _ in range(40)
                ]
                for _ in rpcs:
                    ends.begun.get(timeout=PATIENCE)
                for rpc in rpcs:
                    rpc.cancel()
                for _ in rpcs:
                    # At the end of the handler: it has raised, or this is None.
                    err, _ = ends.ended.get(timeout=PATIENCE)
                    assert isinstance(err, Canceled)


@pytest.mark.parametrize("flavor", FLAVORS)
def test_a_stream_whose_client_leaves_while_it_sends_is_closed(flavor: str) -> None:
    closed: queue.Queue[BaseException | None] = queue.Queue()

    def pour(_: object, sc: object) -> Iterator[bytes]:
        ctx = current()
        try:
            while True:
                yield b"x" * 100_000  # more than the client takes
        finally:
            closed.put(ctx.err())

    async def pour_in_a_task(_: object, sc: object) -> Any:
        ctx = current()
        try:
            while True:
                yield b"x" * 100_000
        finally:
            await asyncio.sleep(0)
            closed.put(ctx.err())

    methods: tuple[dict[str, Any], dict[str, Any]] = (
        {"Pour": grpc.unary_stream_rpc_method_handler(pour)},
        {"Pour": grpc.unary_stream_rpc_method_handler(pour_in_a_task)},
    )
    with serving(flavor, *methods) as served:
        rpc = served.method("Pour", "unary_stream")(b"")
        next(rpc)
        rpc.cancel()
        assert isinstance(closed.get(timeout=PATIENCE), Canceled | None)


def test_a_thread_that_sends_to_a_client_who_does_not_read_is_free_when_time_is_up(
    registry: CollectorRegistry,
) -> None:
    def pour(_: object, sc: object) -> Iterator[bytes]:
        while True:
            yield b"x" * 100_000

    methods: dict[str, Any] = {"Pour": grpc.unary_stream_rpc_method_handler(pour)}
    settings: dict[str, Any] = {"timeout": 0.2, "metrics": registry}
    with serving("threads", methods, workers=1, **settings) as served:
        rpc = served.method("Pour", "unary_stream")(b"")
        next(rpc)
        until_handled(registry, "DeadlineExceeded", "unary_stream", "Pour")
        with pytest.raises(grpc.RpcError):
            list(rpc)


@pytest.mark.parametrize("writes", [True, False])
def test_a_handler_of_a_task_that_sends_to_a_client_who_does_not_read_ends_in_time(
    writes: bool,
) -> None:
    ended: queue.Queue[BaseException | None] = queue.Queue()

    async def write(_: object, sc: Any) -> None:
        ctx = current()
        try:
            while True:
                await sc.write(b"x" * 100_000)
        finally:
            ended.put(ctx.err())

    async def pour(_: object, sc: Any) -> AsyncIterator[bytes]:
        ctx = current()
        try:
            while True:
                yield b"x" * 100_000
        finally:
            ended.put(ctx.err())

    handler: Any = grpc.unary_stream_rpc_method_handler(write if writes else pour)
    with serving("tasks", {"Pour": handler}, timeout=0.2) as served:
        rpc = served.method("Pour", "unary_stream")(b"")
        next(rpc)
        assert isinstance(ended.get(timeout=PATIENCE), DeadlineExceeded)
        with pytest.raises(grpc.RpcError):
            list(rpc)  # which finds the status now
        assert rpc.code() is grpc.StatusCode.DEADLINE_EXCEEDED


def test_a_handler_is_interrupted_once_though_grpc_cancels_it_too(ends: Ends) -> None:
    cleaned: queue.Queue[str] = queue.Queue()

    async def tidy(_: object, sc: object) -> bytes:
        with current().with_timeout(PATIENCE) as inner:
            ends.begin()
            try:
                await inner.sleep_async(PATIENCE)
            finally:
                try:
                    await asyncio.sleep(0.1)
                    cleaned.put("whole")
                except asyncio.CancelledError:
                    cleaned.put("interrupted")
                    raise
        return b""

    methods = handlers(unary_unary=tidy)
    with serving("tasks", methods) as served:
        for _ in range(5):
            for seconds in DEADLINES:
                with begun(served, "unary_unary", timeout=seconds) as rpc:
                    rpc.code()
                if not ends.begun.empty():
                    break
            ends.begun.get(timeout=PATIENCE)
            assert cleaned.get(timeout=PATIENCE) == "whole"
        for _ in range(5):
            with begun(served, "unary_unary", timeout=PATIENCE) as rpc:
                ends.begun.get(timeout=PATIENCE)
                rpc.cancel()
                assert cleaned.get(timeout=PATIENCE) == "whole"


def test_a_plain_function_on_a_server_of_tasks_hears_that_its_client_has_left(
    ends: Ends,
) -> None:
    with serving("tasks", thread_methods(ends)) as served:
        for kind in KINDS:
            with begun(served, kind, timeout=PATIENCE) as rpc:
                ends.begun.get(timeout=PATIENCE)
                rpc.cancel()
                err, cause = ends.ended.get(timeout=PATIENCE)
            assert isinstance(err, Canceled)
            assert isinstance(cause, ClientDisconnected)


def test_the_code_of_a_plain_function_on_a_server_of_tasks_is_counted(
    registry: CollectorRegistry,
) -> None:
    with serving("tasks", handlers(No=refuse), metrics=registry) as served:
        with pytest.raises(grpc.RpcError) as caught:
            served.method("No")(b"")
        assert caught.value.code() is grpc.StatusCode.NOT_FOUND
        until_handled(registry, "NotFound", "unary_unary", "No")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("flavor", FLAVORS)
def test_a_service_that_stops_ends_its_calls_and_begins_no_more(
    flavor: str, kind: str, ends: Ends
) -> None:
    service = background().with_cancel()
    methods = thread_methods(ends), task_methods(ends)
    with serving(flavor, *methods, base=service) as served:
        with begun(served, kind) as rpc:
            ends.begun.get(timeout=PATIENCE)
            service.cancel()
            assert rpc.code() is grpc.StatusCode.UNAVAILABLE
            assert rpc.rpc.details() == "the server is stopping"
        with begun(served, kind) as late:
            assert late.code() is grpc.StatusCode.UNAVAILABLE
    assert ends.begun.empty()
    assert served.calls.dropped == 1


@pytest.mark.parametrize("flavor", FLAVORS)
def test_a_method_that_is_not_there_is_answered_as_ever(flavor: str) -> None:
    with serving(flavor, handlers(Get=say_who)) as served:
        with pytest.raises(grpc.RpcError) as caught:
            served.method("Got")(b"")
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


def test_calls_that_wait_for_a_thread_are_seen(registry: CollectorRegistry) -> None:
    free, busy = threading.Event(), threading.Event()

    def hold(request: bytes, _: object) -> bytes:
        busy.set()
        free.wait(PATIENCE)
        return b""

    with serving("threads", handlers(Hold=hold), workers=1, metrics=registry) as served:
        sent = [served.method("Hold").future(b"") for _ in range(4)]
        assert busy.wait(PATIENCE)
        with background().with_timeout(PATIENCE) as patience:
            while served.calls.waiting < 3:
                patience.sleep(0.002)
        waiting = "grpc_server_waiting", "Hold", "shop.Stock", "unary"
        assert samples(registry)[waiting] == 3
        free.set()
        for rpc in sent:
            rpc.result(PATIENCE)
        assert served.calls.waiting == served.calls.dropped == 0


@pytest.mark.parametrize("flavor", FLAVORS)
def test_a_handler_belongs_to_the_trace_of_its_caller(flavor: str) -> None:
    def trace_of(_: object, sc: object) -> bytes:
        span = trace.get_current_span().get_span_context()
        return f"{span.trace_id:032x} {span.span_id:016x}".encode()

    async def trace_in_a_task(request: object, sc: object) -> bytes:
        return trace_of(request, sc)

    sent = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
    metadata = [("traceparent", f"00-{sent[0]}-{sent[1]}-01")]
    methods = handlers(Get=trace_of), handlers(Get=trace_in_a_task)
    with serving(flavor, *methods) as served:
        answer = served.method("Get")(b"", metadata=metadata)
        nothing = served.method("Get")(b"")
    assert answer.decode().split() == [*sent]
    assert set(nothing.decode()) == {"0", " "}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("flavor", FLAVORS)
def test_a_call_that_is_over_is_kept_by_nothing(
    flavor: str, kind: str, ends: Ends
) -> None:
    methods = thread_methods(ends), task_methods(ends)
    known: list[ref[Context]] = []
    with without_collector(), serving(flavor, *methods) as served:
        with begun(served, kind) as rpc:  # one that is canceled
            known.append(ref(ends.begun.get(timeout=PATIENCE)))
            rpc.cancel()
            ends.ended.get(timeout=PATIENCE)
        if kind.startswith("stream"):  # and one that is not
            with begun(served, kind, timeout=PATIENCE) as rpc:
                known.append(ref(ends.begun.get(timeout=PATIENCE)))
                rpc.finish()
                assert rpc.code() is grpc.StatusCode.OK
        until_gone(known)


def test_settings_that_mean_nothing_are_refused() -> None:
    with pytest.raises(TypeError, match="trust is True, False or a function"):
        ServerInterceptor(trust="yes")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="base is a Context"):
        ServerInterceptor(base=3)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="metrics is a CollectorRegistry"):
        ServerInterceptor(metrics="yes")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="timeout is above 0"):
        ServerInterceptor(timeout=0.0)
