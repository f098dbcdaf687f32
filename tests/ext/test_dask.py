"""Work on a real cluster of three worker processes ends with its context."""

from __future__ import annotations

import asyncio
import gc
import os
import subprocess
import sys
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dask as library
import opentelemetry.propagate  # noqa: F401  with it, the trace is sent
import pytest
from distributed import Client, KilledWorker, LocalCluster
from opentelemetry.sdk.trace import TracerProvider

from demo.databases.server import Server
from tests.core.support import start
from tests.ext import dask_cluster
from tests.ext import dask_work as work
from tests.ext.notes import PATIENCE, count, notes, until
from tests.ext.upstream import Upstream
from tests.ext.watching import Watch, mark
from tether import Canceled, DeadlineExceeded, background
from tether.ext import dask
from tether.wire import REQUEST_ID

WORKERS, THREADS = 3, 34
SLOTS = WORKERS * THREADS
QUEUED = 400


@pytest.fixture(scope="module")
def cluster() -> Iterator[LocalCluster]:
    with (
        library.config.set({"distributed.scheduler.allowed-failures": 1}),
        dask_cluster.local(WORKERS, THREADS, processes=True) as cluster,
    ):
        yield cluster


@pytest.fixture(scope="module")
def client(cluster: LocalCluster) -> Iterator[Client]:
    with Client(cluster) as client:
        client.wait_for_workers(WORKERS)
        yield client


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """What the functions on the workers note."""
    return tmp_path / "log"


def works(client: Client) -> bool:
    """Whether all threads of all workers do what they are asked."""
    numbers = range(2 * SLOTS)
    ctx = background()
    told = dask.gather(ctx, dask.map(ctx, client, work.double, numbers))
    return told == [2 * number for number in numbers]


@pytest.mark.parametrize("fn", [work.tell, work.tell_in_a_task])
def test_the_function_gets_the_time_that_is_left_and_the_values(
    client: Client, fn: Callable[..., Any]
) -> None:
    with background().with_value(REQUEST_ID, "r-7").with_timeout(50.0) as ctx:
        what, left, ident, label = dask.submit(ctx, client, fn, "it").result()
    assert (what, ident, label) == ("it", "r-7", f"{fn.__name__}()")
    assert 0 < left < 50.0


def test_the_workers_are_told_by_how_much_clocks_may_differ(client: Client) -> None:
    def tell(skew: float | None) -> None:
        client.run(library.config.set, {"tether.clock-skew": skew})

    with background().with_timeout(PATIENCE) as ctx:
        tell(-1.0)
        try:
            with pytest.raises(ValueError, match="skew is not below 0"):
                dask.submit(ctx, client, work.double, 1).result()
        finally:
            tell(None)
        assert dask.submit(ctx, client, work.double, 1).result() == 2


def test_without_a_deadline_there_is_none(client: Client) -> None:
    call = dask.submit(background(), client, work.tell, "it")
    assert call.result()[1] == float("inf")


def test_the_function_goes_on_with_the_trace(client: Client) -> None:
    client.run(work.load_opentelemetry)
    tracer = TracerProvider(shutdown_on_exit=False).get_tracer("tests")
    with tracer.start_as_current_span("here") as span:
        there = dask.submit(background(), client, work.trace).result()
    assert there == span.get_span_context().trace_id


def test_the_functions_own_error_comes_back(client: Client) -> None:
    with pytest.raises(LookupError, match="no such thing"):
        dask.submit(background(), client, work.fail).result()


def test_the_end_of_a_budget_of_its_own_is_an_error_of_its_own(client: Client) -> None:
    with pytest.raises(DeadlineExceeded) as raised:
        dask.submit(background(), client, work.run_out).result()
    assert "0.01 s budget set at" in raised.value.detail


def test_the_result_of_a_call_is_an_argument_of_another(client: Client) -> None:
    ctx = background()
    first = dask.submit(ctx, client, work.double, 4)
    second = dask.submit(ctx, client, work.double, first)
    assert dask.submit(ctx, client, work.double, second.future).result() == 32


@pytest.mark.parametrize(
    "around",
    [
        lambda a, b: [a, b],
        lambda a, b: {a, b},
        lambda a, b: {"a": a, "b": b},
        lambda a, b: [(a, 0), {"b": [b]}],
    ],
    ids=["list", "set", "dict", "nested"],
)
def test_the_results_of_calls_in_collections_are_arguments_too(
    client: Client, around: Callable[..., object]
) -> None:
    ctx = background()
    calls = dask.map(ctx, client, work.double, [1, 2])
    assert dask.submit(ctx, client, work.total, around(*calls)).result() == 6


def test_an_argument_needs_no_hash(client: Client) -> None:
    call = dask.submit(background(), client, work.kind, work.Shy())
    assert call.result() == "Shy"


def test_results_are_gathered_in_order(client: Client) -> None:
    ctx = background()
    assert dask.gather(ctx, dask.map(ctx, client, work.double, [3, 1])) == [6, 2]
    assert dask.gather(ctx, []) == []


def test_nothing_is_sent_for_a_context_that_is_over(client: Client, log: Path) -> None:
    with background().with_cancel() as ctx:
        ctx.cancel()
        with pytest.raises(Canceled):
            _ = dask.submit(ctx, client, work.wait, str(log))
    assert works(client)
    assert not notes(log)


@pytest.mark.parametrize("fn", [work.wait, work.wait_in_a_task])
def test_a_cancel_ends_it_over_there_and_says_why(
    client: Client, log: Path, fn: Callable[..., object]
) -> None:
    with background().with_cancel() as ctx:
        call = dask.submit(ctx, client, fn, str(log))
        until(lambda: count(log, "started"))
        ctx.cancel(RuntimeError("the user left"))
        with pytest.raises(Canceled):
            call.result()
        del call
    until(lambda: count(log, "stopped"))
    assert "Canceled" in notes(log)[-1]
    assert "the user left" in notes(log)[-1]
    assert "(the context made at ext/dask_work.py:" in notes(log)[-1]


def test_a_deadline_ends_it_over_there(client: Client, log: Path) -> None:
    with background().with_timeout(1.0) as ctx:
        call = dask.submit(ctx, client, work.wait, str(log))
        with pytest.raises(DeadlineExceeded):
            call.result()
    until(lambda: count(log, "started") == count(log, "stopped"))
    assert works(client)


def test_all_that_run_stop_and_none_that_wait_starts(client: Client, log: Path) -> None:
    with background().with_cancel() as ctx:
        calls = dask.map(ctx, client, work.wait, [str(log)] * (SLOTS + QUEUED))
        until(lambda: count(log, "started") >= SLOTS)
        ctx.cancel()
        until(lambda: count(log, "stopped") >= SLOTS)
        for call in calls:
            with pytest.raises(Canceled):
                call.result()
    assert works(client)
    assert count(log, "started") == count(log, "stopped") == SLOTS


def test_calls_one_by_one_under_a_context_end_together(
    client: Client, log: Path
) -> None:
    with background().with_cancel() as ctx:
        calls = [
            dask.submit(ctx.with_value(REQUEST_ID, str(n)), client, work.wait, str(log))
            for n in range(SLOTS + QUEUED)
        ]
        until(lambda: count(log, "started") >= SLOTS)
        ctx.cancel()
        with pytest.raises(Canceled):
            dask.gather(background(), calls)
        until(lambda: count(log, "stopped") >= SLOTS)
    assert works(client)
    assert count(log, "started") == SLOTS


def test_what_is_canceled_while_it_is_sent_does_not_run_on(
    client: Client, log: Path
) -> None:
    kept = []
    for _ in range(20):
        with background().with_cancel() as ctx:
            kept += dask.map(ctx, client, work.wait, [str(log)] * 10)
    until(lambda: not any(client.processing().values()))
    until(lambda: count(log, "started") == count(log, "stopped"))
    assert works(client)
    assert count(log, "started") == count(log, "stopped")


def test_neither_calls_nor_contexts_are_kept(client: Client) -> None:
    with background().with_cancel() as ctx:
        calls = dask.map(ctx, client, work.double, range(3))
        assert dask.gather(ctx, calls) == [0, 2, 4]
        futures = [weakref.ref(call.future) for call in calls]
        del calls
        until(lambda: gc.collect() >= 0 and not any(future() for future in futures))
    over = weakref.ref(ctx)
    del ctx
    until(lambda: gc.collect() >= 0 and over() is None)


def test_calls_under_another_context_go_on(client: Client, log: Path) -> None:
    other = dask.submit(background(), client, work.wait, str(log))
    until(lambda: count(log, "started"))
    with background().with_cancel() as ctx:
        call = dask.submit(ctx, client, work.wait, str(log))
        until(lambda: count(log, "started") == 2)
    with pytest.raises(Canceled):
        call.result()
    until(lambda: count(log, "stopped"))
    assert works(client)
    assert count(log, "stopped") == 1
    del other  # what nobody holds, Dask gives up
    until(lambda: count(log, "stopped") == 2)
    assert "Dask has given the task up" in notes(log)[-1]


def test_work_ends_with_the_process_that_submitted_it(
    cluster: LocalCluster, client: Client, log: Path
) -> None:
    code = f"""if True:
        from distributed import Client
        from tests.ext import dask_work as work
        from tether import background
        from tether.ext import dask
        client = Client({cluster.scheduler_address!r})
        ctx = background()
        calls = dask.map(ctx, client, work.wait, [{str(log)!r}] * {SLOTS + QUEUED})
        calls[0].result()
    """
    root = Path(__file__).parents[2]
    with subprocess.Popen([sys.executable, "-c", code], cwd=root) as process:
        try:
            until(lambda: count(log, "started") >= SLOTS)
        finally:
            process.kill()
    until(lambda: count(log, "stopped") >= SLOTS)
    assert works(client)
    assert count(log, "started") == count(log, "stopped") == SLOTS


def test_a_query_of_a_task_ends_in_the_database(
    client: Client, postgres: Server
) -> None:
    sql, name = mark("select pg_sleep(600)")
    with Watch(postgres) as watch, background().with_cancel() as ctx:
        call = dask.submit(ctx, client, work.query, postgres.url, sql)
        watch.until(name, runs=True)
        ctx.cancel()
        watch.until(name, runs=False)
        with pytest.raises(Canceled):
            call.result()


def test_a_request_of_a_task_ends_at_the_server(client: Client, up: Upstream) -> None:
    with background().with_cancel() as ctx:
        call = dask.submit(ctx, client, work.fetch, f"{up.url}/hang")
        up.asked("/hang")
        ctx.cancel()
        up.left("/hang")
        with pytest.raises(Canceled):
            call.result()


def test_a_program_of_a_task_ends(client: Client, log: Path) -> None:
    with background().with_cancel() as ctx:
        call = dask.submit(ctx, client, work.run_program, str(log))
        until(lambda: count(log, "started"))
        pid = int(notes(log)[0].split()[-1])
        ctx.cancel()
        until(lambda: is_gone(pid))
        with pytest.raises(Canceled):
            call.result()


def is_gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def test_what_has_been_returned_can_be_had_after_the_block(client: Client) -> None:
    with background().with_timeout(PATIENCE) as ctx:
        call = dask.submit(ctx, client, work.double, 2)
        assert call.result() == 4
        ctx.cancel()
        assert call.result() == 4
    assert call.result() == 4

    async def main() -> int:
        return await call

    assert asyncio.run(main()) == 4


def test_a_call_that_somebody_else_cancels_is_lost(client: Client, log: Path) -> None:
    call = dask.submit(background(), client, work.wait, str(log))
    until(lambda: count(log, "started"))
    client.cancel([call.future])
    with pytest.raises(dask.Lost, match="wait-"):
        call.result()
    until(lambda: count(log, "stopped"))


def test_a_call_of_a_client_that_is_closed_is_lost(cluster: LocalCluster) -> None:
    with Client(cluster) as client:
        call = dask.submit(background(), client, work.double, 1)
    with pytest.raises(dask.Lost, match="closed"):
        call.result()


def test_whoever_waits_for_a_client_that_is_closed_is_told(
    cluster: LocalCluster, log: Path
) -> None:
    client = Client(cluster)
    call = dask.submit(background(), client, work.wait, str(log))
    waiting = start(call.result)
    until(lambda: count(log, "started"))
    client.close()
    with pytest.raises(dask.Lost):
        waiting.result(PATIENCE)
    until(lambda: count(log, "stopped"))


def test_a_blocking_wait_is_refused_in_a_task(client: Client) -> None:
    async def main() -> None:
        call = dask.submit(background(), client, work.double, 1)
        with pytest.raises(RuntimeError, match="await call"):
            call.result()

    asyncio.run(main())


def test_a_missing_library_is_named_with_the_cure() -> None:
    code = "import sys; sys.modules['distributed'] = None; import tether.ext.dask"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert 'pip install "tether[dask]"' in done.stderr


def test_a_worker_that_dies_is_an_error_and_no_hang(client: Client) -> None:
    call = dask.submit(background(), client, work.die)
    with pytest.raises(KilledWorker, match="die"):
        call.result()
    client.wait_for_workers(WORKERS)


def test_a_worker_that_closes_ends_its_task_which_begins_anew_elsewhere(
    log: Path,
) -> None:
    with dask_cluster.local(2, 1, processes=True) as two, Client(two) as client:
        client.wait_for_workers(2)
        with background().with_cancel() as ctx:
            call = dask.submit(ctx, client, work.wait, str(log))
            until(lambda: count(log, "started"))
            pid = int(notes(log)[0].split()[-1])
            pids = client.run(os.getpid)
            client.retire_workers([where for where in pids if pids[where] == pid])
            until(lambda: count(log, "started") == 2)
            assert any("is closing" in line for line in notes(log))
            assert not call.future.done()
        until(lambda: count(log, "stopped") == 2)


def test_a_call_is_awaited_in_a_loop_that_is_not_the_clients(
    client: Client, log: Path
) -> None:
    async def main() -> None:
        call = dask.submit(background(), client, work.double, 2)
        assert await call == 4
        assert await dask.gather_async(background(), [call, call]) == [4, 4]
        await canceled(client, log)

    asyncio.run(main())


def test_a_client_of_a_loop_is_awaited(cluster: LocalCluster, log: Path) -> None:
    async def main() -> None:
        async with Client(cluster.scheduler_address, asynchronous=True) as client:
            assert await dask.submit(background(), client, work.double, 2) == 4
            await canceled(client, log)

    asyncio.run(main())


async def canceled(client: Client, log: Path) -> None:
    """A call is interrupted in the block of its context, and ends over there."""
    with pytest.raises(Canceled):
        async with asyncio.timeout(PATIENCE):
            with background().with_cancel() as ctx:
                call = dask.submit(ctx, client, work.wait, str(log))
                waiting = asyncio.create_task(cancel_once_noted(ctx, log, "started"))
                await call
    await waiting
    while not count(log, "stopped"):
        await asyncio.sleep(0.002)


async def cancel_once_noted(ctx: Any, log: Path, what: str) -> None:
    while not count(log, what):
        await asyncio.sleep(0.002)
    ctx.cancel()


def test_what_is_wrong_is_refused(client: Client) -> None:
    wrong: Any = None
    with pytest.raises(TypeError, match="takes a context"):
        _ = dask.submit(wrong, client, work.double, 1)
    with pytest.raises(TypeError, match=r"distributed\.Client"):
        _ = dask.submit(background(), wrong, work.double, 1)
    with pytest.raises(TypeError, match="takes a function"):
        dask.map(background(), client, wrong, [1])
    with pytest.raises(TypeError, match="gather takes calls"):
        dask.gather(background(), [wrong])
    one: Any = dask.submit(background(), client, work.double, 1)
    with pytest.raises(TypeError, match=r"gather takes several.*call\.result\(\)"):
        dask.gather(background(), one)
    with pytest.raises(TypeError, match=r"no option 'number'.*functools\.partial"):
        _ = dask.submit(background(), client, work.double, number=1)
