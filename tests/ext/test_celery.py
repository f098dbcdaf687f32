"""Tasks of real Celery workers on a real Redis end with their context."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from celery import Celery
from celery.app.trace import trace_task
from celery.exceptions import TaskRevokedError
from celery.signals import after_task_publish
from opentelemetry.sdk.trace import TracerProvider

from demo.databases.server import Server
from tests.core.support import start
from tests.ext import celery_work as work
from tests.ext import redis_server
from tests.ext.celery_workers import Workers
from tests.ext.notes import PATIENCE, count, notes, until
from tests.ext.watching import Watch, mark
from tether import Canceled, DeadlineExceeded, background, current, to_thread
from tether.ext import celery
from tether.wire import DEADLINE, REQUEST_ID, TIMEOUT

WORKERS, PROCESSES = 3, 3
SLOTS = WORKERS * PROCESSES
QUEUED = 40


@pytest.fixture(scope="module", autouse=True)
def workers(
    redis_server: redis_server.Server, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[None]:
    url = f"redis://127.0.0.1:{redis_server.port}/7"
    log = tmp_path_factory.mktemp("celery") / "log"
    work.app.conf.update(broker_url=url, result_backend=url)
    workers = Workers(work.__name__, url, log, WORKERS, PROCESSES)
    try:
        until(lambda: len(work.app.control.ping(timeout=0.5) or []) == WORKERS)
        yield
    finally:
        workers.stop()
        work.app.close()


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """What the tasks note."""
    return tmp_path / "log"


def ask(task: Any, *args: object) -> Any:
    with background().with_timeout(PATIENCE) as ctx:
        return celery.call(ctx, task, *args)


def works() -> bool:
    """Whether all processes of all workers do what they are asked."""
    with background().with_timeout(PATIENCE) as ctx:
        results = [celery.send(ctx, work.tell, str(n)) for n in range(2 * SLOTS)]
        told: list[Any] = [celery.wait(ctx, result) for result in results]
    return [what for what, *_ in told] == [str(n) for n in range(2 * SLOTS)]


def test_the_task_gets_the_time_that_is_left_and_the_values() -> None:
    with background().with_value(REQUEST_ID, "r-7").with_timeout(50.0) as ctx:
        told: Any = celery.call(ctx, work.tell, "it")
    what, left, ident, label = told
    assert (what, ident, label) == ("it", "r-7", "tests.ext.celery_work.tell")
    assert 0 < left < 50.0


def test_a_signature_is_sent_with_its_options() -> None:
    with background().with_timeout(PATIENCE) as ctx:
        told: Any = celery.call(
            ctx, work.tell.s("it").set(headers={"x-request-id": "own"})
        )
    assert told[0] == "it"
    assert told[2] == "own"


def test_what_is_sent_as_ever_has_the_values_and_not_the_time() -> None:
    with background().with_value(REQUEST_ID, "r-8").with_timeout(50.0) as ctx:
        told: Any = celery.wait(ctx, work.tell.delay("it"))
        onward: Any = celery.wait(ctx, work.app.AsyncResult(ask_in(ctx, work.pass_on)))
    assert told[1:3] == [None, "r-8"]
    assert onward[1:3] == [None, "r-8"]


def test_a_task_is_sent_with_all_that_celery_takes_by_position() -> None:
    ident = str(uuid4())
    result = work.tell.apply_async(["it"], {}, ident, None, [work.tell.s()])
    assert result.id == ident
    with background().with_timeout(PATIENCE) as ctx:
        told: Any = celery.wait(ctx, result)
    assert told[0] == "it"


def test_a_task_that_only_the_workers_know_is_sent_by_its_name() -> None:
    stranger = Celery("stranger", broker=work.app.conf.broker_url)
    stranger.conf.result_backend = work.app.conf.result_backend
    named = stranger.signature("tests.ext.celery_work.tell")
    with background().with_value(REQUEST_ID, "r-6").with_timeout(PATIENCE) as ctx:
        result = celery.send(ctx, named, "it")
        told: Any = celery.wait(ctx, work.app.AsyncResult(result.id))
    assert told[2] == "r-6"
    assert told[1] < PATIENCE
    stranger.close()


def test_the_task_goes_on_with_the_trace() -> None:
    tracer = TracerProvider(shutdown_on_exit=False).get_tracer("tests")
    with tracer.start_as_current_span("here") as span:
        there = ask(work.trace)
        plain = work.trace.delay()
    with background().with_timeout(PATIENCE) as ctx:
        also = celery.wait(ctx, plain)
    assert there == also == f"{span.get_span_context().trace_id:032x}"


def ask_in(ctx: Any, task: Any) -> Any:
    return celery.call(ctx, task)


def test_the_functions_own_error_comes_back() -> None:
    with pytest.raises(LookupError, match="no such thing"):
        ask(work.fail)


def test_a_message_that_comes_late_is_refused_without_work(log: Path) -> None:
    with background().with_timeout(PATIENCE) as ctx:
        # As if it had lain for a minute: the instant counts, and not what was left.
        ago = str(int((time.time() - 60) * 1000))
        headers = {TIMEOUT: "30000", DEADLINE: ago}
        result = work.wait.apply_async([str(log)], headers=headers)
        with pytest.raises(DeadlineExceeded) as raised:
            celery.wait(ctx, result)
    assert "before this came" in raised.value.detail
    assert not notes(log)


@pytest.mark.parametrize(("skew", "outcome"), [(None, "FAILURE"), (60.0, "SUCCESS")])
def test_the_application_says_by_how_much_clocks_may_differ(
    skew: float | None, outcome: str
) -> None:
    app = Celery("skewed", task_cls=celery.ContextTask, set_as_current=False)
    if skew is not None:
        app.conf.tether_clock_skew = skew

    @app.task(shared=False)
    def late() -> None:
        pass

    ago = str(int((time.time() - 30) * 1000))
    request = {"id": "1", "headers": {TIMEOUT: "30000", DEADLINE: ago}}
    # What a process of the pool does with a message.
    _, info, *_ = trace_task(late, "1", (), {}, request, app=app)
    assert ("SUCCESS" if info is None else info.state) == outcome
    app.close()


def test_a_deadline_ends_a_task_whose_sender_does_not_care(log: Path) -> None:
    with background().with_timeout(1.0) as ctx:
        result = celery.send(ctx, work.wait, str(log))
    with background().with_timeout(PATIENCE) as ctx, pytest.raises(DeadlineExceeded):
        celery.wait(ctx, result)
    assert "DeadlineExceeded" in notes(log)[-1]


def test_a_retry_has_no_more_time_than_there_was(log: Path) -> None:
    with background().with_timeout(30.0) as ctx:
        result = celery.send(ctx, work.again, str(log))
    with (
        background().with_timeout(PATIENCE) as ctx,
        pytest.raises(Exception, match="again"),
    ):
        celery.wait(ctx, result)
    left = [float(line.split()[-1]) for line in notes(log)]
    assert len(left) == 6
    assert max(left) <= 30.0


def test_a_retry_of_a_task_whose_time_is_over_is_refused(log: Path) -> None:
    with background().with_timeout(PATIENCE) as patience:
        with patience.with_timeout(0.5) as ctx:
            result = celery.send(ctx, work.again_at_the_end, str(log))
        with pytest.raises(DeadlineExceeded):
            celery.wait(patience, result)
    assert count(log, "started") <= 1  # none, if the workers are late


def test_a_retry_out_of_a_budget_has_the_time_of_the_task() -> None:
    assert ask(work.again_out_of_a_budget) == 1


@pytest.mark.parametrize("by_eta", [False, True])
def test_a_retry_that_would_come_too_late_is_refused_at_once(by_eta: bool) -> None:
    with pytest.raises(DeadlineExceeded) as raised:
        ask(work.again_in_an_hour, by_eta)
    assert "s are needed" in raised.value.detail


def test_an_error_that_is_not_retried_for_want_of_time_comes_back() -> None:
    with pytest.raises(LookupError, match="no such thing"):
        ask(work.fail_retried)


@pytest.mark.parametrize("task", [work.wait, work.wait_tracked])
def test_a_call_whose_context_ends_is_canceled_over_there(log: Path, task: Any) -> None:
    with background().with_cancel() as ctx:
        calling = start(celery.call, ctx, task, str(log))
        until(lambda: count(log, "started"))
        ctx.cancel()
        with pytest.raises(Canceled):
            calling.result(PATIENCE)
    until(lambda: count(log, "stopped"))
    assert "Canceled: the task was revoked" in notes(log)[-1]
    assert "(the context made at ext/celery_work.py:" in notes(log)[-1]


def interrupted(process: subprocess.Popen[bytes]) -> bytes:
    """What it says when it ends by Ctrl-C, which is pressed again if it was lost.

    As it is in Python: when it comes just as the main thread lets go of the lock of the
    interpreter to wait, or in a finalizer, of which Celery's results have one.
    """
    for _ in range(6):
        process.send_signal(signal.SIGINT)
        try:
            return process.communicate(timeout=PATIENCE / 6)[1]
        except subprocess.TimeoutExpired:
            continue
    raise AssertionError("it goes on")


def test_a_call_that_is_interrupted_is_canceled_over_there(log: Path) -> None:
    code = f"""if True:
        from tests.ext import celery_work as work
        from tether import background
        from tether.ext import celery
        celery.call(background(), work.wait, {str(log)!r})
    """
    root = Path(__file__).parents[2]
    env = {**os.environ, "REDIS": work.app.conf.broker_url}
    with subprocess.Popen(
        [sys.executable, "-c", code], cwd=root, env=env, stderr=subprocess.PIPE
    ) as process:
        try:
            until(lambda: count(log, "started"))
            said = interrupted(process)
        finally:
            process.kill()
    assert b"KeyboardInterrupt" in said
    until(lambda: count(log, "stopped"))


def test_a_call_that_is_interrupted_while_it_is_sent_is_canceled_as_well(
    log: Path,
) -> None:
    def press(**_: object) -> None:
        until(lambda: count(log, "started"))
        raise KeyboardInterrupt

    after_task_publish.connect(press, weak=False)
    try:
        with pytest.raises(KeyboardInterrupt):
            celery.call(background(), work.wait, str(log))
    finally:
        after_task_publish.disconnect(press)
    until(lambda: count(log, "stopped"))


def test_a_call_in_a_task_is_refused_before_it_is_sent(log: Path) -> None:
    with pytest.raises(RuntimeError, match=r"in a task of Celery.*allow_join_result"):
        ask(work.call_another, str(log))
    assert works()
    assert not notes(log)
    assert ask(work.call_another_all_the_same) == 8


def test_the_process_of_a_canceled_task_goes_on_with_others(log: Path) -> None:
    pid = 0
    for _ in range(3):
        result = celery.send(background(), work.wait, str(log))
        until(lambda: count(log, "started") > count(log, "stopped"))
        pid = int([line for line in notes(log) if "started" in line][-1].split()[-1])
        celery.cancel(result)
        until(lambda: count(log, "started") == count(log, "stopped"))
    until(lambda: ask(work.process) == pid)


@pytest.mark.parametrize("task", [work.wait, work.wait_retried, work.wait_disguised])
def test_the_state_of_a_canceled_task_is_revoked(log: Path, task: Any) -> None:
    result = celery.send(background(), task, str(log))
    until(lambda: count(log, "started"))
    celery.cancel(result)
    with background().with_timeout(PATIENCE) as ctx, pytest.raises(TaskRevokedError):
        celery.wait(ctx, result)
    until(lambda: count(log, "stopped"))
    assert works()
    assert work.app.AsyncResult(result.id).state == "REVOKED"
    assert count(log, "started") == 1


@pytest.mark.parametrize("task", [work.wait, work.wait_tracked])
def test_all_that_run_stop_and_none_that_wait_starts(log: Path, task: Any) -> None:
    ctx = background()
    results = [celery.send(ctx, task, str(log)) for _ in range(SLOTS + QUEUED)]
    until(lambda: count(log, "started") >= SLOTS)
    celery.cancel(*results)
    until(lambda: count(log, "stopped") >= SLOTS)
    assert works()
    assert count(log, "started") == count(log, "stopped") == SLOTS


def test_a_cancel_that_comes_late_hits_no_other_task() -> None:
    with background().with_timeout(PATIENCE) as ctx:
        for _ in range(30):
            one, *others = [celery.send(ctx, work.tell, "it") for _ in range(SLOTS)]
            celery.cancel(one)
            for other in others:
                assert celery.wait(ctx, other)


def test_a_query_of_a_task_ends_in_the_database(postgres: Server) -> None:
    sql, name = mark("select pg_sleep(600)")
    with Watch(postgres) as watch, background().with_cancel() as ctx:
        calling = start(celery.call, ctx, work.query, postgres.url, sql)
        watch.until(name, runs=True)
        ctx.cancel()
        watch.until(name, runs=False)
        with pytest.raises(Canceled):
            calling.result(PATIENCE)


def test_a_wait_ends_with_its_context_and_leaves_the_task_alone(log: Path) -> None:
    result = celery.send(background(), work.wait, str(log))
    until(lambda: count(log, "started"))
    with background().with_timeout(0.05) as ctx, pytest.raises(DeadlineExceeded):
        celery.wait(ctx, result)
    assert works()
    assert not count(log, "stopped")
    celery.cancel(result)
    until(lambda: count(log, "stopped"))


def test_a_call_is_made_from_a_task_in_a_thread(log: Path) -> None:
    async def main() -> None:
        with background().with_timeout(PATIENCE) as ctx:
            told = await to_thread(ctx, celery.call, work.tell, "it")
            assert isinstance(told, list)
            with pytest.raises(RuntimeError, match="to_thread"):
                celery.call(ctx, work.tell, "it")
            with pytest.raises(Canceled):
                with ctx.with_cancel() as scope:
                    calling = asyncio.create_task(
                        to_thread(scope, celery.call, work.wait, str(log))
                    )
                    while not count(log, "started"):
                        await asyncio.sleep(0.002)
                    scope.cancel()
                    await calling
        while not count(log, "stopped"):
            await asyncio.sleep(0.002)

    asyncio.run(main())


def test_a_task_that_is_called_here_runs_under_the_context_of_its_caller() -> None:
    with background().with_value(REQUEST_ID, "r-9").with_timeout(PATIENCE) as ctx:
        assert work.tell("it")[2] == "r-9"
        assert work.tell.apply(["it"]).get()[2] == "r-9"
        assert ctx.err() is None


@pytest.fixture
def eager() -> Iterator[Any]:
    """An application that calls its tasks when they are sent."""
    app = Celery("eager", task_cls=celery.ContextTask, set_as_current=False)
    app.conf.task_always_eager = True
    yield app
    app.close()


def test_a_task_that_is_sent_eagerly_runs_under_the_context_it_is_sent_with(
    eager: Celery,
) -> None:
    @eager.task
    def told() -> tuple[str | None, bool]:
        return current().value(REQUEST_ID), current().deadline is None

    with background().with_value(REQUEST_ID, "r-1").with_timeout(PATIENCE) as ctx:
        other = ctx.with_value(REQUEST_ID, "r-2")
        assert celery.call(other, told) == ("r-2", False)
        assert celery.call(other.without_cancel(), told) == ("r-2", True)
        assert celery.send(other, told.s()).get() == ("r-2", False)
        assert told.delay().get() == ("r-1", False)


def test_there_is_nothing_to_cancel_of_a_task_that_was_called_eagerly(
    eager: Celery, capfd: pytest.CaptureFixture[str]
) -> None:
    @eager.task
    def end_it() -> str:
        ctx.cancel()
        return "done"

    with background().with_cancel() as ctx:
        with pytest.raises(Canceled):
            celery.call(ctx, end_it)
        celery.cancel(end_it.delay())
    assert "Traceback" not in capfd.readouterr().err


def test_what_is_over_or_wrong_is_not_sent(log: Path) -> None:
    wrong: Any = None
    with background().with_cancel() as ctx:
        ctx.cancel()
        with pytest.raises(Canceled):
            celery.send(ctx, work.wait, str(log))
    with pytest.raises(TypeError, match="takes a context"):
        celery.send(wrong, work.wait, str(log))
    with pytest.raises(TypeError, match="takes a task or a signature"):
        celery.send(background(), wrong)
    for plain in (work.plain_double, work.plain_double.s()):
        with pytest.raises(TypeError, match="no ContextTask"):
            celery.send(background(), plain)
    with pytest.raises(TypeError, match="one by one"):
        celery.send(background(), work.double.s(1) | work.double.s())
    several: Any = [celery.send(background(), work.double, 1)]
    with pytest.raises(TypeError, match=r"one by one.*cancel\(\*results\)"):
        celery.cancel(several)
    celery.cancel()
    assert works()
    assert not notes(log)


def test_a_missing_library_is_named_with_the_cure() -> None:
    code = "import sys; sys.modules['celery'] = None; import tether.ext.celery"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert 'pip install "tether[celery]"' in done.stderr
