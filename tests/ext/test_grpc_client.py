"""Calls within a context: what they take along, and how they end."""

from __future__ import annotations

import asyncio
import copy
import itertools
import pickle
import queue
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import aclosing, asynccontextmanager, closing
from contextvars import ContextVar
from typing import Any, TypeVar
from weakref import ref

import grpc
import grpc.aio
import pytest
from prometheus_client import CollectorRegistry

from tests.core.support import start
from tests.ext.grpc_serving import (
    DEADLINES,
    FLAVORS,
    KINDS,
    PATIENCE,
    Ends,
    Kept,
    Requests,
    Served,
    Told,
    samples,
    serving,
    telling,
    thread_methods,
    until_gone,
    without_collector,
)
from tests.loops import KINDS as LOOPS
from tether import (
    Canceled,
    Context,
    DeadlineExceeded,
    Key,
    background,
    current,
    to_thread,
)
from tether.ext.grpc import (
    call,
    call_async,
    follow,
    stream,
    stream_async,
)
from tether.wire import REQUEST_ID

T = TypeVar("T")
CITY: Key[str] = Key("city-of-grpc", wire="x-grpc-city")
ONE = ["unary_unary", "stream_unary"]


@pytest.fixture(params=LOOPS)
def run(request: pytest.FixtureRequest) -> Kept:
    """Call it with a coroutine function; once for each loop."""
    return Kept(request.param)


@pytest.fixture
def ends() -> Ends:
    return Ends()


@pytest.fixture
def patient(ends: Ends) -> Iterator[Served]:
    """A server whose handlers wait until their context ends."""
    with serving("threads", thread_methods(ends)) as served:
        yield served


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def quick(told: Told) -> Iterator[Served]:
    """A server that answers at once, and tells what came."""
    with serving("threads", telling(told), trust=True) as served:
        yield served


def argument(kind: str) -> Any:
    return iter([b"one", b"two"]) if kind.startswith("stream") else b"one"


# How a call is made in a thread: with a context, or of a channel that is followed.


def with_a_context(ctx: Context, served: Served, kind: str, request: Any) -> Any:
    method = served.method(kind, kind)
    if kind in ONE:
        return call(ctx, method, request)
    return [*stream(ctx, method, request)]


def followed(ctx: Context, served: Served, kind: str, request: Any) -> Any:
    method = getattr(follow(served.channel), kind)(f"/shop.Stock/{kind}")
    with ctx.with_cancel():
        return method(request) if kind in ONE else [*method(request)]


WAYS = pytest.mark.parametrize("way", [with_a_context, followed])
Way = Callable[[Context, Served, str, Any], Any]


@WAYS
@pytest.mark.parametrize("kind", KINDS)
def test_a_call_takes_along_what_is_left_and_the_values(
    way: Way, kind: str, quick: Served, told: Told
) -> None:
    with background().with_timeout(5.0) as budget:
        ctx = budget.with_value(REQUEST_ID, "7d1").with_value(CITY, "Łódź")
        came = way(ctx, quick, kind, argument(kind))
        assert came == (b"whole" if kind in ONE else [b"whole"] * 2)
        there, left = told.get(timeout=PATIENCE)
        assert there.value(REQUEST_ID) == "7d1"
        assert there.value(CITY) == "Łódź"
        assert left < 5.0  # gRPC's own way of telling rounds it up


@WAYS
@pytest.mark.parametrize("kind", KINDS)
def test_a_call_without_time_is_not_begun(
    way: Way, kind: str, quick: Served, told: Told
) -> None:
    with pytest.raises(DeadlineExceeded):
        way(background().with_timeout(0.0), quick, kind, argument(kind))
    assert told.empty()


@WAYS
@pytest.mark.parametrize("kind", KINDS)
def test_a_call_ends_on_both_sides_when_its_context_is_canceled(
    way: Way, kind: str, patient: Served, ends: Ends
) -> None:
    requests = Requests()
    with background().with_cancel() as ctx:
        stop = threading.Thread(
            target=lambda: (ends.begun.get(timeout=PATIENCE), ctx.cancel())
        )
        stop.start()
        with pytest.raises(Canceled) as caught:
            way(ctx, patient, kind, _endless(kind, requests))
        assert caught.value.ctx is not None
        err, _ = ends.ended.get(timeout=PATIENCE)
        assert isinstance(err, Canceled)
    stop.join()
    requests.close()


@WAYS
@pytest.mark.parametrize("kind", KINDS)
def test_a_call_ends_on_both_sides_when_its_time_is_up(
    way: Way, kind: str, patient: Served, ends: Ends
) -> None:
    for seconds in DEADLINES:
        requests = Requests()
        with background().with_timeout(seconds) as ctx:
            with pytest.raises(DeadlineExceeded) as caught:
                way(ctx, patient, kind, _endless(kind, requests))
            assert ctx.done()
        requests.close()
        if not ends.begun.empty():
            assert isinstance(caught.value.__cause__, Exception)
            break
    err, _ = ends.ended.get(timeout=PATIENCE)
    assert isinstance(err, DeadlineExceeded)


def _endless(kind: str, requests: Iterator[bytes]) -> Any:
    return requests if kind.startswith("stream") else b"one"


@WAYS
@pytest.mark.parametrize("kind", KINDS)
def test_a_context_is_kept_by_no_call_that_is_over(
    way: Way, kind: str, quick: Served, patient: Served
) -> None:
    known: list[ref[Context]] = []
    with without_collector():
        for served in (quick, patient):
            requests = Requests()
            many = requests if served is patient else iter([b"one"])
            with background().with_timeout(PATIENCE) as above:
                with above.with_timeout(PATIENCE if served is quick else 0.05) as ctx:
                    known.append(ref(ctx))
                    try:
                        way(ctx, served, kind, _endless(kind, many))
                    except DeadlineExceeded:
                        assert served is patient
            requests.close()
            del ctx
        until_gone(known)


def test_a_shorter_time_of_one_call_is_grpcs_and_told_as_such(patient: Served) -> None:
    method = patient.method("unary_unary")
    with background().with_timeout(PATIENCE) as ctx:
        with pytest.raises(grpc.RpcError) as caught:
            call(ctx, method, b"", timeout=0.05)
        assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        assert not ctx.done()


def test_an_answer_that_is_an_error_passes_as_it_is(quick: Served) -> None:
    with background().with_timeout(PATIENCE) as ctx:
        with pytest.raises(grpc.RpcError) as caught:
            call(ctx, quick.method("nothing"), b"")
        assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
        with pytest.raises(grpc.RpcError) as caught:
            next(stream(ctx, quick.method("nothing", "unary_stream"), b""))
        assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


def test_metadata_of_the_caller_comes_before_that_of_the_context(
    quick: Served, told: Told
) -> None:
    with background().with_timeout(PATIENCE) as ctx:
        named = ctx.with_value(REQUEST_ID, "7d1")
        mine = [("x-request-id", "mine"), ("x-request-timeout-ms", "1")]
        call(named, quick.method("unary_unary"), b"", metadata=mine)
    there, left = told.get(timeout=PATIENCE)
    assert there.value(REQUEST_ID) == "mine"
    assert left > 1  # that was the time of an earlier hop


def test_a_stream_that_is_left_early_is_canceled(patient: Served, ends: Ends) -> None:
    with background().with_timeout(PATIENCE) as ctx:
        method = patient.method("unary_stream", "unary_stream")
        for response in stream(ctx, method, b""):
            assert response == b"first"
            ends.begun.get(timeout=PATIENCE)
            break
        assert isinstance(ends.ended.get(timeout=PATIENCE)[0], Canceled)
        with closing(stream(ctx, method, b"")) as responses:
            next(responses)
            ends.begun.get(timeout=PATIENCE)
        assert isinstance(ends.ended.get(timeout=PATIENCE)[0], Canceled)
        assert responses.code() is grpc.StatusCode.CANCELLED  # gRPC's own is there
        assert not ctx.done()


def test_a_call_is_not_copied(patient: Served, run: Kept) -> None:
    def refused(rpc: object) -> None:
        for way in (copy.copy, copy.deepcopy, pickle.dumps):
            with pytest.raises(TypeError, match="neither copied nor pickled"):
                way(rpc)

    async def main() -> None:
        async with channel_to(patient) as raw:
            channel = follow(raw)
            refused(channel.unary_unary("/shop.Stock/unary_unary")(b"one"))
            refused(channel.unary_stream("/shop.Stock/unary_stream")(b"one"))

    with closing(
        stream(background(), patient.method("unary_stream", "unary_stream"), b"one")
    ) as responses:
        refused(responses)
        assert next(responses) == b"first"  # it goes on
    run(main)


def test_a_stream_does_not_keep_its_request(patient: Served) -> None:
    class Big:
        pass

    request = Big()
    known = ref(request)
    path = "/shop.Stock/unary_stream"
    method: Any = patient.channel.unary_stream(path, request_serializer=lambda _: b"")
    with without_collector():
        responses: Any = stream(background(), method, request)
        del request
        next(responses)
        assert known() is None
    responses.close()


def test_a_stream_is_canceled_on_the_wire_although_nobody_reads_it(
    patient: Served, ends: Ends
) -> None:
    with background().with_cancel() as ctx:
        method = patient.method("unary_stream", "unary_stream")
        responses = stream(ctx, method, b"")
        assert next(responses) == b"first"
        ends.begun.get(timeout=PATIENCE)
        ctx.cancel()
        assert isinstance(ends.ended.get(timeout=PATIENCE)[0], Canceled)
        with pytest.raises(Canceled):
            next(responses)


def test_a_future_of_a_followed_channel_ends_although_nobody_waits(
    patient: Served, ends: Ends
) -> None:
    method: Any = follow(patient.channel).unary_unary("/shop.Stock/unary_unary")
    with background().with_cancel():
        future = method.future(b"")
        ends.begun.get(timeout=PATIENCE)
    # The block that it was made in has been left.
    assert isinstance(ends.ended.get(timeout=PATIENCE)[0], Canceled)
    assert future.cancelled()


def test_a_followed_channel_is_a_channel(quick: Served) -> None:
    with follow(grpc.insecure_channel(f"127.0.0.1:{quick.port}")) as channel:
        states: queue.Queue[grpc.ChannelConnectivity] = queue.Queue()
        channel.subscribe(states.put, try_to_connect=True)
        while states.get(timeout=PATIENCE) is not grpc.ChannelConnectivity.READY:
            pass
        channel.unsubscribe(states.put)
        method: Any = channel.unary_unary("/shop.Stock/unary_unary")
        response, rpc = method.with_call(b"", timeout=PATIENCE)
        assert response == b"whole"
        assert rpc.code() is grpc.StatusCode.OK


@pytest.mark.parametrize("kind", KINDS)
def test_arguments_by_position_and_by_name_are_what_they_are_for_grpc(
    quick: Served, kind: str
) -> None:
    method = getattr(follow(quick.channel), kind)(f"/shop.Stock/{kind}")
    name = "request_iterator" if kind.startswith("stream") else "request"
    options: list[Any] = [PATIENCE, (), None, True, grpc.Compression.Gzip]
    with background().with_timeout(PATIENCE):
        calls = [
            method(argument(kind), *options),
            method(**{name: argument(kind)}),
        ]
        answers = [answer if kind in ONE else [*answer] for answer in calls]
    assert answers == [b"whole" if kind in ONE else [b"whole"] * 2] * 2


def test_a_call_without_a_request_is_refused_as_by_grpc(quick: Served) -> None:
    get: Any = quick.method("unary_unary")
    with pytest.raises(TypeError, match="request"):
        call(background(), get)


# -- interceptors that make a generator of the responses -------------------------------

ASKING: ContextVar[str] = ContextVar("asking", default="nobody")


class Generating(grpc.UnaryStreamClientInterceptor, grpc.StreamStreamClientInterceptor):
    """As OpenTelemetry's does, with a variable that is set while it lasts."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def intercept_unary_stream(
        self, continuation: Any, client_call_details: Any, request: Any
    ) -> Any:
        self.asked.append(ASKING.get())
        token = ASKING.set("the interceptor")
        try:
            yield from continuation(client_call_details, request)
        finally:
            ASKING.reset(token)

    def intercept_stream_stream(
        self, continuation: Any, client_call_details: Any, request_iterator: Any
    ) -> Any:
        return self.intercept_unary_stream(
            continuation, client_call_details, request_iterator
        )


@pytest.mark.parametrize("kind", ["unary_stream", "stream_stream"])
@WAYS
def test_responses_come_through_the_generator_of_an_interceptor(
    quick: Served, way: Way, kind: str
) -> None:
    generating, registry = Generating(), CollectorRegistry()
    channel = grpc.intercept_channel(quick.channel, generating)
    quick.channel = follow(channel, metrics=registry)
    token = ASKING.set("the caller")
    with background().with_timeout(PATIENCE) as ctx:
        assert way(ctx, quick, kind, argument(kind)) == [b"whole", b"whole"]
    ASKING.reset(token)
    assert generating.asked == ["the caller"]
    until_handled(registry, "OK", kind)


@pytest.mark.parametrize("kind", ["unary_stream", "stream_stream"])
@WAYS
def test_who_waits_for_the_generator_of_an_interceptor_is_told_of_the_end(
    patient: Served, ends: Ends, way: Way, kind: str
) -> None:
    registry = CollectorRegistry()
    channel = grpc.intercept_channel(patient.channel, Generating())
    patient.channel = follow(channel, metrics=registry)
    requests = Requests()

    def cancel_once_begun() -> None:
        ends.begun.get(timeout=PATIENCE)
        ctx.cancel()

    with background().with_cancel() as ctx:
        start(cancel_once_begun)
        with pytest.raises(Canceled) as caught:
            way(ctx, patient, kind, _endless(kind, requests))
    assert isinstance(caught.value.__cause__, grpc.FutureCancelledError)
    until_handled(registry, "Canceled", kind)
    requests.close()


def test_a_generator_of_an_interceptor_that_is_left_early_is_closed(
    patient: Served, ends: Ends
) -> None:
    channel = grpc.intercept_channel(patient.channel, Generating())
    method: Any = channel.unary_stream("/shop.Stock/unary_stream")
    responses: Any = stream(background(), method, b"one")
    assert next(responses) == b"first"
    ends.begun.get(timeout=PATIENCE)
    responses.close()
    error, _ = ends.ended.get(timeout=PATIENCE)
    assert isinstance(error, Canceled)
    with pytest.raises(grpc.FutureCancelledError):
        next(responses)


class Waiting(grpc.UnaryUnaryClientInterceptor):
    """As who logs how a call has ended."""

    def intercept_unary_unary(
        self, continuation: Any, client_call_details: Any, request: Any
    ) -> Any:
        response = continuation(client_call_details, request)
        response.code()
        return response


def test_a_followed_channel_inside_of_interceptors_ends_what_they_wait_for(
    patient: Served, ends: Ends
) -> None:
    channel = grpc.intercept_channel(follow(patient.channel), Waiting())
    get: Any = channel.unary_unary("/shop.Stock/unary_unary")

    def cancel_once_begun() -> None:
        ends.begun.get(timeout=PATIENCE)
        ctx.cancel()

    with background().with_cancel() as ctx:
        start(cancel_once_begun)
        with pytest.raises(Canceled):
            get(b"one", timeout=PATIENCE)
    error, _ = ends.ended.get(timeout=PATIENCE)
    assert isinstance(error, Canceled)


def test_an_error_comes_through_the_generator_of_an_interceptor(quick: Served) -> None:
    channel = grpc.intercept_channel(quick.channel, Generating())
    nowhere: Any = channel.unary_stream("/shop.Stock/Nowhere")
    with pytest.raises(grpc.RpcError) as caught:
        next(stream(background(), nowhere, b"one"))
    assert isinstance(caught.value, grpc.Call)
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


def test_what_is_no_method_or_context_is_refused(quick: Served) -> None:
    one, many = quick.method("one"), quick.method("many", "unary_stream")
    ctx = background()
    with pytest.raises(TypeError, match="call takes a method with one response"):
        call(ctx, many, b"")
    with pytest.raises(TypeError, match="stream takes a method with a stream"):
        stream(ctx, one, b"")
    with pytest.raises(TypeError, match="a call takes a context"):
        call(one, one, b"")
    with pytest.raises(TypeError, match="follow takes a channel"):
        follow(one)


def test_who_would_block_the_loop_is_told(quick: Served, run: Kept) -> None:
    async def main() -> None:
        with pytest.raises(RuntimeError, match="await call_async"):
            call(background(), quick.method("one"), b"")
        with pytest.raises(RuntimeError, match="stream_async"):
            stream(background(), quick.method("many", "unary_stream"), b"")
        with pytest.raises(TypeError, match=r"grpc\.aio"):
            await call_async(background(), quick.method("one"), b"")
        with pytest.raises(TypeError, match=r"grpc\.aio"):
            stream_async(background(), quick.method("many", "unary_stream"), b"")

    run(main)


# -- in tasks ------------------------------------------------------------------------


async def endless() -> AsyncIterator[bytes]:
    yield b"one"
    await asyncio.Event().wait()


async def two() -> AsyncIterator[bytes]:
    yield b"one"
    yield b"two"


def argument_async(kind: str, many: Callable[[], Any]) -> Any:
    return many() if kind.startswith("stream") else b"one"


async def in_a_task(ctx: Context, channel: Any, kind: str, request: Any) -> Any:
    method = getattr(channel, kind)(f"/shop.Stock/{kind}")
    if kind in ONE:
        return await call_async(ctx, method, request)
    return [response async for response in stream_async(ctx, method, request)]


async def followed_in_a_task(
    ctx: Context, channel: Any, kind: str, request: Any
) -> Any:
    method = getattr(follow(channel), kind)(f"/shop.Stock/{kind}")
    with ctx.with_cancel():
        if kind in ONE:
            return await method(request)
        return [response async for response in method(request)]


TASK_WAYS = pytest.mark.parametrize("way", [in_a_task, followed_in_a_task])


@asynccontextmanager
async def channel_to(
    served: Served, metrics: CollectorRegistry | None = None
) -> AsyncIterator[Any]:
    """A channel of tasks."""
    channel = grpc.aio.insecure_channel(f"127.0.0.1:{served.port}")
    if metrics is not None:
        channel = follow(channel, metrics=metrics)
    async with channel:
        yield channel


async def soon(items: queue.Queue[T]) -> T:
    """The next one."""
    return await to_thread(background(), lambda _: items.get(timeout=PATIENCE))


@TASK_WAYS
@pytest.mark.parametrize("kind", KINDS)
def test_a_call_in_a_task_takes_along_what_is_left_and_the_values(
    way: Any, kind: str, quick: Served, told: Told, run: Kept
) -> None:
    async def main() -> None:
        async with channel_to(quick) as channel:
            with background().with_timeout(5.0) as budget:
                ctx = budget.with_value(REQUEST_ID, "7d1")
                came = await way(ctx, channel, kind, argument_async(kind, two))
                assert came == (b"whole" if kind in ONE else [b"whole"] * 2)
                there, left = told.get(timeout=PATIENCE)
                assert there.value(REQUEST_ID) == "7d1"
                assert left < 5.0
            with pytest.raises(DeadlineExceeded):
                await way(background().with_timeout(0.0), channel, kind, b"")
        assert told.empty()

    run(main)


@TASK_WAYS
@pytest.mark.parametrize("kind", KINDS)
def test_a_call_in_a_task_ends_on_both_sides_with_its_context(
    way: Any, kind: str, patient: Served, ends: Ends, run: Kept
) -> None:
    async def main() -> None:
        async with channel_to(patient) as channel:
            ctx = background().with_cancel()
            stop = threading.Thread(
                target=lambda: (ends.begun.get(timeout=PATIENCE), ctx.cancel())
            )
            stop.start()
            with pytest.raises(Canceled):
                await way(ctx, channel, kind, argument_async(kind, endless))
            err, _ = await soon(ends.ended)
            assert isinstance(err, Canceled)
            await to_thread(background(), lambda _: stop.join())
            task = asyncio.current_task()
            assert task is not None
            assert task.cancelling() == 0

    run(main)


@TASK_WAYS
@pytest.mark.parametrize("kind", KINDS)
def test_a_context_is_kept_by_no_call_of_a_task_that_is_over(
    way: Any, kind: str, quick: Served, patient: Served, run: Kept
) -> None:
    known: list[ref[Context]] = []

    async def main() -> None:
        for served in (quick, patient):
            async with channel_to(served) as channel:
                many = two if served is quick else endless
                ctx = background().with_timeout(PATIENCE if served is quick else 0.05)
                known.append(ref(ctx))
                try:
                    await way(ctx, channel, kind, argument_async(kind, many))
                except (DeadlineExceeded, grpc.RpcError):
                    assert served is patient
                ctx.cancel()
                del ctx
        # While the loop has its turns: a wake-up may still be on its way.
        await to_thread(background(), lambda _: until_gone(known))

    with without_collector():
        run(main)


@TASK_WAYS
@pytest.mark.parametrize("kind", KINDS)
def test_a_call_in_a_task_ends_on_both_sides_when_its_time_is_up(
    way: Any, kind: str, patient: Served, ends: Ends, run: Kept
) -> None:
    async def main() -> None:
        async with channel_to(patient) as channel:
            for seconds in DEADLINES:
                request = argument_async(kind, endless)
                with pytest.raises(DeadlineExceeded):
                    with background().with_timeout(seconds) as ctx:
                        await way(ctx, channel, kind, request)
                if not ends.begun.empty():
                    break
            err, _ = await soon(ends.ended)
            assert isinstance(err, DeadlineExceeded)

    run(main)


@TASK_WAYS
def test_a_deadline_is_the_contexts_though_grpc_may_notice_it_first(
    way: Any, patient: Served, run: Kept
) -> None:
    async def one(channel: Any) -> BaseException | None:
        try:
            with background().with_timeout(0.05) as ctx:
                await way(ctx, channel, "unary_unary", b"one")
        except Exception as exc:
            return exc
        return None

    async def main() -> None:
        async with channel_to(patient) as channel:
            ended = await asyncio.gather(*(one(channel) for _ in range(50)))
        assert {type(exc) for exc in ended} == {DeadlineExceeded}

    run(main)


def test_a_followed_call_of_a_task_ends_with_its_block_unless_it_has_its_response(
    quick: Served, patient: Served, ends: Ends, run: Kept
) -> None:
    async def main() -> None:
        async with channel_to(quick) as raw:
            method: Any = follow(raw).unary_unary("/shop.Stock/unary_unary")
            with background().with_timeout(PATIENCE):
                rpc = method(b"one")
                assert await rpc == b"whole"
            assert await rpc == b"whole"  # what has come is not lost
            assert await rpc.code() is grpc.StatusCode.OK  # gRPC's own is there
        async with channel_to(patient) as raw:
            method = follow(raw).unary_unary("/shop.Stock/unary_unary")
            with background().with_timeout(PATIENCE):
                rpc = method(b"one")
                await soon(ends.begun)
            with pytest.raises(Canceled):
                await rpc
            err, _ = await soon(ends.ended)
            assert isinstance(err, Canceled)

    run(main)


def test_a_cancel_of_the_task_itself_passes_through(
    patient: Served, ends: Ends, run: Kept
) -> None:
    async def main() -> None:
        async with channel_to(patient) as channel:
            for kind in KINDS:
                request = argument_async(kind, endless)
                calling = asyncio.create_task(
                    in_a_task(background(), channel, kind, request)
                )
                await soon(ends.begun)
                calling.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await calling
                assert calling.cancelled()
                err, _ = await soon(ends.ended)
                assert isinstance(err, Canceled)

    run(main)


def test_a_stream_in_a_task_that_is_left_early_is_canceled(
    patient: Served, ends: Ends, run: Kept
) -> None:
    async def main() -> None:
        async with channel_to(patient) as channel:
            method: Any = channel.unary_stream("/shop.Stock/unary_stream")
            with background().with_timeout(PATIENCE) as ctx:
                async for response in stream_async(ctx, method, b""):
                    assert response == b"first"
                    await soon(ends.begun)
                    break
                err, _ = await soon(ends.ended)
                assert isinstance(err, Canceled)
                async with aclosing(stream_async(ctx, method, b"")) as responses:
                    await anext(responses)
                    await soon(ends.begun)
                err, _ = await soon(ends.ended)
                assert isinstance(err, Canceled)
                assert await responses.code() is grpc.StatusCode.CANCELLED

    run(main)


def test_a_stream_in_a_task_is_canceled_although_nobody_waits_for_it(
    patient: Served, ends: Ends, run: Kept
) -> None:
    async def main() -> None:
        async with channel_to(patient) as channel:
            method: Any = channel.unary_stream("/shop.Stock/unary_stream")
            ctx = background().with_cancel()
            responses = stream_async(ctx, method, b"")
            assert await anext(responses) == b"first"
            await soon(ends.begun)
            ctx.cancel()
            err, _ = await soon(ends.ended)
            assert isinstance(err, Canceled)
            with pytest.raises(Canceled):
                await anext(responses)

    run(main)


def test_a_followed_channel_of_tasks_is_a_channel(quick: Served, run: Kept) -> None:
    async def main() -> None:
        async with channel_to(quick) as raw, follow(raw) as channel:
            state = channel.get_state(try_to_connect=True)
            while state is not grpc.ChannelConnectivity.READY:
                await channel.wait_for_state_change(state)
                state = channel.get_state()
            await channel.channel_ready()
            method: Any = channel.stream_stream("/shop.Stock/stream_stream")
            rpc: Any = method()
            await rpc.write(b"one")
            assert await rpc.read() == b"whole"
            await rpc.done_writing()
            assert await rpc.read() == b"whole"
            assert await rpc.read() is grpc.aio.EOF
            assert await rpc.code() is grpc.StatusCode.OK
        await channel.close()

    run(main)


# -- what is counted, and a chain ----------------------------------------------------


def until_handled(
    registry: CollectorRegistry, code: str, kind: str, count: int = 1
) -> None:
    """gRPC tells of the end of a call after it has handed over the response."""
    types = dict(zip(KINDS, ["unary", "server_stream", "client_stream", "bidi_stream"]))
    name = "grpc_client_handled_total", code, kind, "shop.Stock", types[kind]
    with background().with_timeout(PATIENCE) as patience:
        while samples(registry).get(name, 0) < count:
            patience.sleep(0.002)
    assert samples(registry)[name] == count
    seconds = "grpc_client_handling_seconds_count", kind, "shop.Stock", types[kind]
    assert (
        samples(registry)[seconds]
        == samples(registry)[("grpc_client_started_total", *seconds[1:])]
    )


def messages(registry: CollectorRegistry, way: str) -> dict[str, float]:
    """How many were sent or received, by kind."""
    return {
        name[1]: value
        for name, value in samples(registry).items()
        if name[0] == f"grpc_client_msg_{way}_total"
    }


SENT = {"unary_unary": 1, "unary_stream": 1, "stream_unary": 2, "stream_stream": 2}
CAME = {"unary_unary": 1, "unary_stream": 2, "stream_unary": 1, "stream_stream": 2}


@WAYS
def test_the_calls_of_a_followed_channel_are_counted(
    way: Way, quick: Served, patient: Served
) -> None:
    registry = CollectorRegistry()
    for served in (quick, patient):
        served.channel = follow(served.channel, metrics=registry)
    for kind in KINDS:
        with background().with_timeout(PATIENCE) as ctx:
            way(ctx, quick, kind, argument(kind))
        until_handled(registry, "OK", kind)
    assert messages(registry, "sent") == SENT
    assert messages(registry, "received") == CAME
    for kind in KINDS:
        requests = Requests()
        with pytest.raises(DeadlineExceeded):
            way(background().with_timeout(0.1), patient, kind, _endless(kind, requests))
        requests.close()
        until_handled(registry, "DeadlineExceeded", kind)
    left = "grpc_client_deadline_left_seconds_count", KINDS[0], "shop.Stock", "unary"
    assert samples(registry)[left] == 2


def test_a_call_that_could_not_be_sent_is_counted_as_complete(quick: Served) -> None:
    registry = CollectorRegistry()
    channel = follow(quick.channel, metrics=registry)
    path = "/shop.Stock/unary_unary"
    get: Any = channel.unary_unary(path, request_serializer=lambda _: bytes([256]))
    with pytest.raises(grpc.RpcError):
        get(b"one")
    until_handled(registry, "Internal", "unary_unary")
    wrong: dict[str, Any] = {"no_such_option": 1}
    with pytest.raises(TypeError, match="no_such_option"):
        get(b"one", **wrong)
    until_handled(registry, "Unknown", "unary_unary")


@TASK_WAYS
def test_the_calls_of_a_followed_channel_of_tasks_are_counted(
    way: Any, quick: Served, patient: Served, ends: Ends, run: Kept
) -> None:
    registry = CollectorRegistry()

    async def main() -> None:
        for kind in KINDS:
            async with channel_to(quick, registry) as channel:
                with background().with_timeout(PATIENCE) as ctx:
                    await way(ctx, channel, kind, argument_async(kind, two))
            async with channel_to(patient, registry) as channel:
                request = argument_async(kind, endless)
                calling = asyncio.create_task(way(background(), channel, kind, request))
                await soon(ends.begun)
                calling.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await calling

    run(main)
    for kind in KINDS:
        until_handled(registry, "OK", kind)
        until_handled(registry, "Canceled", kind)


@pytest.mark.parametrize("flavor", FLAVORS)
def test_what_is_left_shrinks_from_hop_to_hop(flavor: str) -> None:
    left: list[float] = []

    def through(request: bytes, _: object) -> bytes:
        ctx = current()
        left.append(ctx.remaining())
        if request == b"":
            return b""
        with grpc.insecure_channel(request.decode()) as channel:
            with ctx.with_timeout(5.0, reserve=0.1) as budget:
                method: Any = channel.unary_unary("/shop.Stock/Get")
                return bytes(call(budget, method, b""))

    async def through_in_a_task(request: bytes, _: object) -> bytes:
        ctx = current()
        left.append(ctx.remaining())
        port, _, rest = request.partition(b" ")
        if not port:
            return b""
        async with grpc.aio.insecure_channel(port.decode()) as channel:
            method: Any = channel.unary_unary("/shop.Stock/Get")
            with ctx.with_timeout(5.0, reserve=0.1) as budget:
                return bytes(await call_async(budget, method, rest))

    registry = CollectorRegistry()
    methods: tuple[dict[str, Any], dict[str, Any]] = (
        {"Get": grpc.unary_unary_rpc_method_handler(through)},
        {"Get": grpc.unary_unary_rpc_method_handler(through_in_a_task)},
    )
    with serving(flavor, *methods, metrics=registry) as served:
        address = f"127.0.0.1:{served.port}".encode()
        hops = address + b" " + address if flavor == "tasks" else address
        with background().with_timeout(1.0) as ctx:
            began = ctx.remaining()
            call(ctx, served.method("Get"), hops)
    assert len(left) == (3 if flavor == "tasks" else 2)
    for before, after in itertools.pairwise([began, *left]):
        assert after < before
    assert left[1] < 0.9
    seen = "grpc_server_deadline_left_seconds_bucket"
    assert samples(registry)[seen, "Get", "shop.Stock", "unary", "1.0"] == len(left)
