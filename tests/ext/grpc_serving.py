"""gRPC servers for the tests: four kinds of method, in threads and in tasks."""

from __future__ import annotations

import asyncio
import gc
import queue
import threading
import time
from collections.abc import Callable, Coroutine, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeAlias
from weakref import ref

import grpc
import grpc.aio
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from tests.loops import Run
from tether import Context, background, current
from tether.ext.grpc import AioServerInterceptor, ServerInterceptor

KINDS = ["unary_unary", "unary_stream", "stream_unary", "stream_stream"]
FLAVORS = ["threads", "tasks"]
# Deadlines, to be tried in turn until a handler has begun within one.
DEADLINES = 0.1, 1.0, 10.0  # seconds
PATIENCE = 20.0  # seconds for what takes milliseconds; nothing waits so long


class Ends:
    """What the handlers tell of their contexts: when they begin, and how they end."""

    def __init__(self) -> None:
        self.at = 0.0  # when the last one ended
        self.begun: queue.Queue[Context] = queue.Queue()
        self.ended: queue.Queue[tuple[BaseException | None, BaseException | None]] = (
            queue.Queue()
        )

    def begin(self) -> Context:
        ctx = current()
        self.begun.put(ctx)
        return ctx

    def end(self, ctx: Context) -> None:
        self.at = time.monotonic()
        self.ended.put((ctx.err(), ctx.cause()))


def four_kinds(unary: Any, stream: Any) -> dict[str, Any]:
    """A method of each kind: two that answer once, and two with a stream."""
    return {
        "unary_unary": grpc.unary_unary_rpc_method_handler(unary),
        "unary_stream": grpc.unary_stream_rpc_method_handler(stream),
        "stream_unary": grpc.stream_unary_rpc_method_handler(unary),
        "stream_stream": grpc.stream_stream_rpc_method_handler(stream),
    }


def thread_methods(ends: Ends) -> dict[str, Any]:
    """Handlers that wait until their context ends: for a response, or for a request."""

    def unary(request: Any, _: object) -> bytes:
        ctx = ends.begin()
        try:
            if isinstance(request, bytes):
                ctx.sleep(PATIENCE)
            else:
                for _more in request:
                    pass
        finally:
            ends.end(ctx)
        return b"whole"

    def stream(request: Any, sc: object) -> Iterator[bytes]:
        yield b"first"
        yield unary(request, sc)

    return four_kinds(unary, stream)


def task_methods(ends: Ends) -> dict[str, Any]:
    """The same in tasks."""

    async def unary(request: Any, _: object) -> bytes:
        ctx = ends.begin()
        try:
            if isinstance(request, bytes):
                await ctx.sleep_async(PATIENCE)
            else:
                async for _more in request:
                    pass
        finally:
            ends.end(ctx)
        return b"whole"

    async def stream(request: Any, sc: object) -> Any:
        yield b"first"
        yield await unary(request, sc)

    return four_kinds(unary, stream)


Told: TypeAlias = queue.Queue[tuple[Context, float]]


def telling(told: Told) -> dict[str, Any]:
    """Handlers that answer at once, and tell of their contexts and what is left."""

    def unary(request: Any, _: object) -> bytes:
        told.put((current(), current().remaining()))
        for _more in request:
            pass
        return b"whole"

    def stream(request: Any, sc: object) -> Iterator[bytes]:
        yield b"whole"
        yield unary(request, sc)

    return four_kinds(unary, stream)


def samples(registry: CollectorRegistry) -> dict[tuple[str, ...], float]:
    """What a scrape finds: the name and the labels, in their order, to the value."""
    text = generate_latest(registry).decode()
    return {
        (sample.name, *(value for _, value in sorted(sample.labels.items()))): (
            sample.value
        )
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


@contextmanager
def without_collector() -> Iterator[None]:
    """Only what nothing refers to any more goes."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def until_gone(known: Iterable[ref[Context]]) -> None:
    """Another thread may have been the last to have it."""
    with background().with_timeout(PATIENCE) as patience:
        for one in known:
            while one() is not None:
                patience.sleep(0.002)


class Served:
    """A server that runs, and a channel to it."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.channel = grpc.insecure_channel(f"127.0.0.1:{port}")

    def method(self, name: str, kind: str = "unary_unary") -> Any:
        return getattr(self.channel, kind)(f"/shop.Stock/{name}")


class ThreadServed(Served):
    """A server of threads."""

    def __init__(
        self, methods: dict[str, Any], calls: ServerInterceptor, workers: int
    ) -> None:
        self.calls = calls
        self.pool = ThreadPoolExecutor(workers)
        self.server = grpc.server(self.pool, interceptors=[calls])
        self.server.add_generic_rpc_handlers([_handlers(methods)])
        super().__init__(self.server.add_insecure_port("127.0.0.1:0"))
        self.server.start()

    def stop(self, grace: float) -> None:
        self.calls.stop(self.server, grace).wait(PATIENCE)

    def stop_bare(self, grace: float) -> None:
        self.server.stop(grace).wait(PATIENCE)

    def close(self) -> None:
        self.channel.close()
        self.stop_bare(0)
        self.pool.shutdown()


# gRPC hands what it has for one loop to another one that runs, and cannot take it back
# when that is closed. So these are never closed.


@cache
def loop_of_servers() -> asyncio.AbstractEventLoop:
    """A loop that runs in a thread."""
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, daemon=True).start()
    return loop


@cache
def loop_of_clients(kind: str) -> asyncio.AbstractEventLoop:
    """A loop of one of the kinds of `tests.loops`."""
    return Run(kind).new_loop()


@dataclass(frozen=True)
class Kept:
    """As `Run`, on a loop that stays."""

    kind: str

    def __call__(self, main: Callable[[], Coroutine[Any, Any, None]]) -> None:
        complaints: list[dict[str, Any]] = []
        loop = loop_of_clients(self.kind)
        loop.set_exception_handler(lambda _, context: complaints.append(context))
        with ThreadPoolExecutor() as threads:  # the loop would keep its own
            loop.set_default_executor(threads)
            loop.run_until_complete(main())
            loop.run_until_complete(self._settle())
        assert not complaints

    async def _settle(self) -> None:
        """Wait for gRPC's own tasks, and for what is closed by a task when dropped."""
        if gc.isenabled():
            gc.collect(1)
        while left := asyncio.all_tasks() - {asyncio.current_task()}:
            done, _ = await asyncio.wait(left, timeout=PATIENCE)
            assert done, f"still running on the loop: {left}"
            await asyncio.sleep(0)


class TaskServed(Served):
    """A server of tasks."""

    def __init__(self, methods: dict[str, Any], calls: AioServerInterceptor) -> None:
        self.calls = calls
        self._loop = loop_of_servers()
        self._threads = ThreadPoolExecutor()
        super().__init__(self._do(self._start(methods)))

    def _do(self, coroutine: Any) -> Any:
        future = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        return future.result(PATIENCE)

    async def _start(self, methods: dict[str, Any]) -> int:
        self._loop.set_default_executor(self._threads)
        self.server = grpc.aio.server(interceptors=[self.calls])
        self.server.add_generic_rpc_handlers([_handlers(methods)])
        port = self.server.add_insecure_port("127.0.0.1:0")
        await self.server.start()
        return port

    def stop(self, grace: float) -> None:
        self._do(self.calls.stop(self.server, grace))

    def stop_bare(self, grace: float) -> None:
        self._do(self.server.stop(grace))

    def close(self) -> None:
        self.channel.close()
        self.stop_bare(0)
        self._threads.shutdown()


def _handlers(methods: dict[str, Any]) -> grpc.GenericRpcHandler:
    return grpc.method_handlers_generic_handler("shop.Stock", methods)


@contextmanager
def serving(
    flavor: str,
    threads: dict[str, Any],
    tasks: dict[str, Any] | None = None,
    *,
    workers: int = 4,
    **settings: Any,
) -> Iterator[ThreadServed | TaskServed]:
    """A server of one of the FLAVORS, until the block is left."""
    served: ThreadServed | TaskServed
    if flavor == "threads":
        served = ThreadServed(threads, ServerInterceptor(**settings), workers)
    else:
        methods = threads if tasks is None else tasks
        served = TaskServed(methods, AioServerInterceptor(**settings))
    try:
        yield served
    finally:
        served.close()


class Requests:
    """A stream of requests: one, and then none until it is closed."""

    def __init__(self) -> None:
        self._queue: queue.Queue[bytes | None] = queue.Queue()
        self._queue.put(b"one")

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        item = self._queue.get()
        if item is None:
            raise StopIteration
        return item

    def put(self, request: bytes) -> None:
        self._queue.put(request)

    def close(self) -> None:
        self._queue.put(None)


class Sent:
    """A call that has been sent, and what its caller sees of it."""

    def __init__(
        self, rpc: Any, *, many: bool, finish: Callable[[], object] = lambda: None
    ) -> None:
        self.rpc = rpc
        self.finish = finish  # send no more
        self.cancel = rpc.cancel
        self._many = many

    def code(self) -> grpc.StatusCode:
        """The status, once the call is over and all of it is read."""
        if self._many:
            # What says how it ended comes after the messages that nobody has read.
            reading = threading.Thread(target=self._read, daemon=True)
            reading.start()
            reading.join(PATIENCE)
        else:
            over = threading.Event()
            self.rpc.add_done_callback(lambda _: over.set())
            over.wait(PATIENCE)
        assert self.rpc.done()
        code = self.rpc.code()
        assert isinstance(code, grpc.StatusCode)
        return code

    def _read(self) -> None:
        try:
            for _ in self.rpc:
                pass
        except grpc.RpcError:
            pass  # it is asked for by code()


@contextmanager
def begun(served: Served, kind: str, **options: Any) -> Iterator[Sent]:
    """A call of the method that is called like its kind."""
    method = served.method(kind, kind)
    requests = Requests()
    argument: Any = requests if kind.startswith("stream") else b"one"
    start = method if kind.endswith("stream") else method.future
    many = kind.endswith("stream")
    sent = Sent(start(argument, **options), many=many, finish=requests.close)
    try:
        yield sent
    finally:
        requests.close()
        sent.cancel()
