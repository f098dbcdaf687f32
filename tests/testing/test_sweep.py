"""The sweep finds what is wrong, says where, and says nothing of what is right."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import queue
import sys
import tempfile
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from tether import Context, ContextError, DeadlineExceeded, Group
from tether.cli._app import app
from tether.testing import Report, SweepError, Verdict, sweep

pytestmark = pytest.mark.tether_leaks(off=True)  # the operations leak


# -- defects, and what they should have been ---------------------------------


class Pool:
    """Connections that are handed over to who waits longest."""

    def __init__(self) -> None:
        self.free = ["one"]
        self.waiting: deque[asyncio.Future[str]] = deque()

    async def get(self) -> str:
        if self.free:
            return self.free.pop()
        future = asyncio.get_running_loop().create_future()
        self.waiting.append(future)
        connection: str = await future
        return connection

    async def get_safely(self) -> str:
        if self.free:
            return self.free.pop()
        future = asyncio.get_running_loop().create_future()
        self.waiting.append(future)
        try:
            connection: str = await future
        except asyncio.CancelledError:
            if future.done() and not future.cancelled():
                self.put(future.result())  # it came too late
            raise
        return connection

    def put(self, connection: str) -> None:
        while self.waiting:
            future = self.waiting.popleft()
            if not future.done():
                future.set_result(connection)
                return
        self.free.append(connection)


async def slot(pool: Pool) -> None:
    connection = await pool.get()
    await asyncio.sleep(1.0)
    pool.put(connection)


async def slot_given_back(pool: Pool) -> None:
    connection = await pool.get()
    try:
        await asyncio.sleep(1.0)
    finally:
        pool.put(connection)


async def handed_over(pool: Pool) -> None:
    connection = pool.free.pop() if pool.free else await pool.get()
    asyncio.get_running_loop().call_later(1.0, pool.put, connection)
    pool.put(await pool.get())


async def handed_over_safely(pool: Pool) -> None:
    connection = pool.free.pop() if pool.free else await pool.get_safely()
    asyncio.get_running_loop().call_later(1.0, pool.put, connection)
    try:
        pool.put(await pool.get_safely())
    except asyncio.CancelledError:
        await asyncio.sleep(2.0)  # for the one that is on its way
        raise


async def swallows() -> None:
    with contextlib.suppress(asyncio.CancelledError):
        await asyncio.sleep(1.0)
    await asyncio.sleep(1.0)


async def swallows_both() -> None:
    with contextlib.suppress(asyncio.CancelledError):
        await asyncio.sleep(1.0)
    with contextlib.suppress(asyncio.CancelledError):
        await asyncio.sleep(1.0)


async def swallows_what_comes_late(pool: Pool) -> None:
    future = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().call_later(1.0, future.set_result, None)
    try:
        await future
    except asyncio.CancelledError:
        if future.cancelled():
            raise


async def passes_on_what_comes_late(pool: Pool) -> None:
    future = asyncio.get_running_loop().create_future()
    timer = asyncio.get_running_loop().call_later(1.0, future.set_result, None)
    try:
        await future
    finally:
        timer.cancel()


async def swallows_its_end(ctx: Context) -> None:
    try:
        await asyncio.sleep(1.0)
    except asyncio.CancelledError:
        if not ctx.done():
            raise


async def is_done_before_it_sees_its_end(ctx: Context) -> None:
    await asyncio.sleep(1.0)
    if not ctx.done():
        await asyncio.sleep(1.0)


async def looks_too_late(ctx: Context, pool: Pool) -> None:
    connection = pool.free.pop() if pool.free else await pool.get_safely()
    asyncio.get_running_loop().call_later(1.0, pool.put, connection)
    connection = await pool.get_safely()
    ctx.check()
    pool.put(connection)


async def looks_in_time(ctx: Context, pool: Pool) -> None:
    connection = pool.free.pop() if pool.free else await pool.get_safely()
    asyncio.get_running_loop().call_later(1.0, pool.put, connection)
    try:
        pool.put(await pool.get_safely())
    except asyncio.CancelledError:
        await asyncio.sleep(2.0)
        raise
    ctx.check()


async def lets_pass() -> None:
    try:
        await asyncio.sleep(1.0)
    except asyncio.CancelledError:
        await asyncio.sleep(0.0)  # cleans up
        raise
    await asyncio.sleep(1.0)


async def leaves_a_child() -> None:
    child = asyncio.create_task(asyncio.sleep(10.0))
    await asyncio.sleep(1.0)
    child.cancel()


async def takes_its_child_along() -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(asyncio.sleep(10.0)).add_done_callback(str)
        await asyncio.sleep(1.0)


async def leaves_a_file() -> None:
    file = Path(__file__).open()  # noqa: SIM115
    OPEN.append(file)
    await asyncio.sleep(1.0)
    file.close()


async def closes_its_file() -> None:
    with Path(__file__).open():
        await asyncio.sleep(1.0)


OPEN: list[Any] = []


@pytest.fixture(autouse=True)
def closed() -> Any:
    yield
    while OPEN:
        OPEN.pop().close()


@asynccontextmanager
async def pool() -> AsyncIterator[Pool]:
    yield Pool()


DEFECTS: list[tuple[Callable[..., object], Callable[..., object], Any, str, str]] = [
    (slot, slot_given_back, Pool, "does not end", "in slot #1"),
    (handed_over, handed_over_safely, pool, "does not end", "in Pool.get #1 late"),
    (swallows, lets_pass, None, "swallows the cancel", "in swallows #1"),
    (
        *(swallows_what_comes_late, passes_on_what_comes_late, Pool),
        *("swallows the cancel", "in swallows_what_comes_late #1 late cancel"),
    ),
    (
        *(swallows_its_end, is_done_before_it_sees_its_end, None),
        *("swallows the end", "in swallows_its_end #1 early context"),
    ),
    (
        *(looks_too_late, looks_in_time, Pool),
        *("does not end", "in Pool.get_safely #1 late context"),
    ),
    (leaves_a_child, takes_its_child_along, None, "goes on", "in leaves_a_child #1"),
    (leaves_a_file, closes_its_file, None, "left behind: file", "in leaves_a_file #1"),
]


@pytest.mark.parametrize("defect", DEFECTS, ids=lambda one: one[0].__name__)
def test_each_defect_is_found_with_its_place(
    defect: tuple[Callable[..., object], object, Any, str, str],
) -> None:
    op, _, setup, problem, place = defect
    report = sweep(op, setup=setup)
    assert report.verdict is Verdict.FAIL
    found = [one for one in report.findings if problem in one.problem]
    assert found, str(report)
    assert any(place in str(cut) for cut in found[0].cuts), str(report)
    # What it says replays it.
    again = sweep(op, setup=setup, at=str(found[0].cuts[0]))
    assert any(problem in one.problem for one in again.findings), str(again)
    assert again.runs == 2


@pytest.mark.parametrize("defect", DEFECTS, ids=lambda one: one[1].__name__)
def test_its_correct_twin_passes_twenty_times(
    defect: tuple[object, Callable[..., object], Any, str, str],
) -> None:
    _, op, setup, _, _ = defect
    for _ in range(20):
        report = sweep(op, setup=setup)
        assert report.verdict is Verdict.PASS, str(report)


def test_what_only_a_late_end_shows_is_named_as_that() -> None:
    report = sweep(handed_over, setup=Pool)
    lost = [one for one in report.findings if "does not end" in one.problem]
    assert {cut.moment.value for cut in lost[0].cuts} == {"late"}


def test_a_late_end_of_the_context_shows_what_none_other_does() -> None:
    report = sweep(looks_too_late, setup=Pool)
    lost = [one for one in report.findings if "does not end" in one.problem]
    ways = {(cut.moment.value, cut.means.value) for cut in lost[0].cuts}
    assert ways == {("late", "context"), ("late", "deadline")}


def test_an_end_is_swallowed_where_it_has_interrupted() -> None:
    def ways(op: Callable[..., object]) -> set[tuple[str, str]]:
        found = [one for one in sweep(op).findings if "swallows" in one.problem]
        return {
            (cut.moment.value, cut.means.value) for one in found for cut in one.cuts
        }

    early = {("early", "cancel"), ("early", "context"), ("early", "deadline")}
    late = {("late", "cancel"), ("late", "context"), ("late", "deadline")}
    # One that comes late is delivered at the next wait; here there is one more.
    assert ways(swallows) == early | {("late", "cancel")}
    assert ways(swallows_both) == early | late
    assert ways(swallows_its_end) == {("early", "context"), ("early", "deadline")}


# -- verdicts --------------------------------------------------------------------


def test_hours_of_back_off_take_no_time_and_each_wait_is_a_place() -> None:
    async def retry(ctx: Context) -> None:
        for attempt in range(8):
            await ctx.sleep_async(2.0**attempt * 10.0)

    report = sweep(retry)
    assert report.verdict is Verdict.PASS, str(report)
    assert (report.reached, report.places) == (8, 8)
    assert "ended at 8 of 8 places" in str(report)


def test_no_more_is_claimed_than_was_run() -> None:
    async def yields() -> None:
        await asyncio.sleep(0.0)

    report = sweep(yields)
    assert report.verdict is Verdict.PASS
    assert {cut.moment.value for cut in report.delivered} == {"early"}
    assert {cut.moment.value for cut in report.missed} == {"late"}
    assert len(report.missed) == 3
    assert "late" not in str(report)
    late = sweep(yields, at=str(report.missed[0]))
    assert late.verdict is Verdict.UNRESOLVED
    assert "could not be delivered" in str(late)


def test_the_waits_of_children_are_places_as_well() -> None:
    async def child() -> None:
        await asyncio.sleep(1.0)

    async def parent() -> None:
        await asyncio.gather(child(), child())

    report = sweep(parent)
    assert report.verdict is Verdict.PASS, str(report)
    assert report.places == 3


def test_a_child_that_is_canceled_before_its_first_step_is_no_finding() -> None:
    async def parent() -> None:
        child = asyncio.create_task(asyncio.sleep(1.0))
        child.cancel()
        await asyncio.wait({child})

    report = sweep(parent)
    assert report.verdict is Verdict.PASS, str(report)
    assert not report.noise  # "never awaited"


def test_a_generator_that_is_dropped_is_closed_by_its_loop_as_ever() -> None:
    closed: list[bool] = []

    async def generate() -> AsyncIterator[int]:
        try:
            yield 1
        finally:
            await asyncio.sleep(0.0)
            closed.append(True)

    async def op() -> None:
        async for _ in generate():
            break
        await asyncio.sleep(1.0)

    report = sweep(op)
    assert report.verdict is Verdict.PASS, str(report)
    assert not report.noise
    assert len(closed) == 2 * report.runs  # and when it is done again


def test_a_generator_that_is_only_garbage_is_no_finding() -> None:
    class Response:
        def __init__(self) -> None:
            self.body = self.pieces()
            self.self = self  # so that only the collector frees it

        async def pieces(self) -> AsyncIterator[int]:
            while True:
                yield 1

    async def op() -> None:
        response = Response()
        await anext(response.body)
        await asyncio.sleep(1.0)
        await response.body.aclose()  # type: ignore[attr-defined]

    report = sweep(op)
    assert report.verdict is Verdict.PASS, str(report)


def test_one_problem_is_told_once_whatever_its_temporary_name() -> None:
    async def op() -> None:
        file = tempfile.NamedTemporaryFile()  # noqa: SIM115
        OPEN.append(file)
        await asyncio.sleep(1.0)
        file.close()

    report = sweep(op)
    assert len(report.findings) == 1, str(report)
    assert len(report.findings[0].cuts) == 4


def test_an_operation_without_a_wait_is_unresolved() -> None:
    async def computes() -> int:
        return 1

    report = sweep(computes)
    assert report.verdict is Verdict.UNRESOLVED
    assert "it never waits" in str(report)
    with pytest.raises(SweepError, match="never waits"):
        report.verify()


def test_an_operation_that_fails_by_itself_is_unresolved() -> None:
    async def fails() -> None:
        await asyncio.sleep(1.0)
        raise KeyError("oops")

    report = sweep(fails)
    assert report.verdict is Verdict.UNRESOLVED
    assert "without an end, it raises KeyError" in str(report)


def test_what_is_left_behind_anyway_is_noise() -> None:
    async def leaves(state: list[int]) -> None:
        OPEN.append(Path(__file__).open())  # noqa: SIM115
        await asyncio.sleep(1.0)

    report = sweep(leaves, setup=list)
    assert report.verdict is Verdict.PASS, str(report)
    assert any("left behind: file" in one for one in report.noise)


def test_what_works_only_once_cannot_show_that_it_works_again() -> None:
    async def works_once(state: list[int]) -> None:
        state.pop()
        await asyncio.sleep(1.0)

    report = sweep(works_once, setup=lambda: [1])
    assert report.verdict is Verdict.UNRESOLVED
    assert report.delivered  # the rest is judged
    assert "without an end, the same operation on the same state raises Index" in str(
        report
    )


def test_but_another_error_after_an_end_is_a_finding() -> None:
    class Table:
        def __init__(self) -> None:
            self.free = 1
            self.rows: set[int] = set()

    async def insert(table: Table) -> None:
        if not table.free:
            raise ConnectionError("no connection is free")
        table.free -= 1
        await asyncio.sleep(1.0)
        table.free += 1
        if 1 in table.rows:
            raise ValueError("duplicate key")
        table.rows.add(1)

    report = sweep(insert, setup=Table)
    assert report.verdict is Verdict.FAIL
    (finding,) = report.findings
    assert "ConnectionError: no connection is free" in finding.problem


async def sells(state: dict[str, int]) -> None:
    state["lost"] = 100
    await asyncio.sleep(1.0)
    state["lost"] = 1


@pytest.mark.parametrize(
    ("check", "said"),
    [
        (lambda state: False, "check returned False"),
        (lambda state: f"{state['lost']} are lost", "1 are lost"),
    ],
)
def test_a_check_that_fails_without_an_end_shows_nothing(
    check: Callable[[Any], object], said: str
) -> None:
    report = sweep(sells, setup=dict, check=check)
    assert report.verdict is Verdict.UNRESOLVED
    assert f"without an end, check: {said}" in str(report)
    with pytest.raises(SweepError, match="without an end, check"):
        report.verify()


def test_of_what_a_check_says_the_numbers_count() -> None:
    def check(state: dict[str, int]) -> str:
        return f"{state['lost']} are lost"

    async def raises_on_the_way(state: dict[str, int]) -> None:
        try:
            await asyncio.sleep(1.0)
        except asyncio.CancelledError:
            state["lost"] = 100
            raise

    report = sweep(raises_on_the_way, setup=lambda: {"lost": 1}, check=check)
    assert report.verdict is Verdict.FAIL
    assert report.findings[0].problem == "check: 100 are lost"


def test_a_check_that_breaks_is_an_error_at_once() -> None:
    async def op(state: dict[str, int]) -> None:
        await asyncio.sleep(1.0)

    def plain(ctx: Context, state: dict[str, int]) -> None:
        ctx.sleep(1.0)

    def check(state: dict[str, int]) -> bool:
        return state.mising  # type: ignore[attr-defined, no-any-return]

    for one in (op, plain):
        with pytest.raises(RuntimeError, match="has no attribute 'mising'") as caught:
            sweep(one, setup=dict, check=check)
        assert isinstance(caught.value.__cause__, AttributeError)


def test_what_leaves_the_program_is_a_finding_not_the_end_of_the_sweep() -> None:
    async def leaves() -> None:
        try:
            await asyncio.sleep(1.0)
        except asyncio.CancelledError:
            sys.exit(0)

    async def stops() -> None:
        try:
            await asyncio.sleep(1.0)
        except asyncio.CancelledError:
            raise KeyboardInterrupt from None

    assert "it raises SystemExit: 0" in sweep(leaves).findings[0].problem
    assert "it raises KeyboardInterrupt" in sweep(stops).findings[0].problem


def test_more_places_than_are_tried_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tether.testing.sweeping._sweep.MOST", 1)
    runs = 0

    async def differs() -> None:
        nonlocal runs
        runs += 1
        if runs <= 2:  # as long as nothing is ended
            await asyncio.sleep(1.0)
        else:
            await asyncio.sleep(2.0)

    report = sweep(differs)
    assert report.verdict is Verdict.UNRESOLVED
    assert "more than 1 places were found" in str(report)


def test_there_is_one_sweep_at_a_time() -> None:
    said: list[str] = []

    async def op() -> None:
        await asyncio.sleep(1.0)
        if not said:
            await asyncio.to_thread(other)

    def other() -> None:
        try:
            sweep(lets_pass)
        except RuntimeError as exc:
            said.append(str(exc))

    sweep(op)
    assert said
    assert said[0].startswith("one sweep at a time")
    assert sweep(lets_pass).verdict is Verdict.PASS


def test_an_error_in_place_of_the_end_is_a_finding() -> None:
    async def muddles() -> None:
        try:
            await asyncio.sleep(1.0)
        except asyncio.CancelledError as exc:
            raise ValueError("bad answer") from exc

    report = sweep(muddles)
    assert "it raises ValueError: bad answer" in report.findings[0].problem


def test_a_place_that_is_not_reached_again_is_unresolved() -> None:
    runs = 0

    async def differs() -> None:
        nonlocal runs
        runs += 1
        if runs == 1:
            await asyncio.sleep(1.0)
        await asyncio.sleep(0.5)

    report = sweep(differs)
    assert report.verdict is Verdict.UNRESOLVED
    assert "not reached in 3 runs" in str(report)


@pytest.mark.parametrize(
    ("check", "said"),
    [
        (lambda state: False, "check returned False"),
        (lambda state: "a seat is lost", "a seat is lost"),
        (lambda state: state["nothing"], "KeyError"),
    ],
)
def test_the_check_has_its_say(check: Callable[[Any], object], said: str) -> None:
    async def op(state: dict[str, int]) -> None:
        state["seats"] -= 1
        await asyncio.sleep(1.0)
        state["seats"] += 1

    def at_the_end(state: dict[str, int]) -> object:
        return None if state["seats"] == 1 else check(state)

    report = sweep(op, setup=lambda: {"seats": 1}, check=at_the_end)
    assert said in report.findings[0].problem


@asynccontextmanager
async def guarded_by_a_group(closes: bool) -> AsyncIterator[asyncio.Event]:
    over = asyncio.Event()
    over.set()
    async with asyncio.TaskGroup() as group:
        yield over
        group.create_task(over.wait())  # ends once all are back
        if closes and not over.is_set():
            raise OSError("still in use")


@pytest.mark.parametrize("real_time", [False, True])
def test_a_state_that_cannot_be_left_is_a_finding_not_a_hang(real_time: bool) -> None:
    async def op(over: asyncio.Event) -> None:
        over.clear()
        await asyncio.sleep(0.0)
        over.set()

    async def never_again(over: asyncio.Event) -> None:
        if over.is_set():
            await op(over)

    report = sweep(
        never_again,
        setup=lambda: guarded_by_a_group(closes=False),
        limit=0.05,
        real_time=real_time,
    )
    assert report.verdict is Verdict.FAIL
    assert "leaving what setup gave: it does not end" in report.findings[0].problem
    report = sweep(never_again, setup=lambda: guarded_by_a_group(closes=True))
    assert "leaving what setup gave: ExceptionGroup" in report.findings[0].problem


def test_a_check_that_does_not_end_is_a_finding() -> None:
    async def check(over: asyncio.Event) -> None:
        await over.wait()

    async def never_again(over: asyncio.Event) -> None:
        if over not in tried:
            tried.append(over)
            await asyncio.sleep(0.0)
            over.set()

    tried: list[asyncio.Event] = []
    report = sweep(never_again, setup=asyncio.Event, check=check, limit=1.0)
    assert "check: it does not end within 1 s" in report.findings[0].problem


# -- what never takes its end ------------------------------------------------------


def retries(ctx: Context) -> None:
    while True:
        try:
            return ctx.sleep(1.0)
        except Exception:
            continue


def retries_whatever_comes(ctx: Context) -> None:
    while True:
        try:
            return ctx.sleep(1.0)
        except BaseException:
            continue


async def retries_in_a_task(ctx: Context) -> None:
    while True:
        try:
            return await ctx.sleep_async(1.0)
        except BaseException:
            continue


async def retries_in_a_task_and_gives_up(ctx: Context) -> None:
    while True:
        try:
            return await ctx.sleep_async(1.0)
        except asyncio.CancelledError:
            raise
        except Exception:
            continue


@pytest.mark.parametrize(
    "op",
    [retries, retries_whatever_comes, retries_in_a_task],
    ids=lambda op: op.__name__,
)
def test_what_catches_its_end_for_ever_is_told_with_its_line(
    op: Callable[..., object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tether.testing.sweeping._plain.LAST", 0.05)
    report = sweep(op, limit=5.0)
    assert report.verdict is Verdict.FAIL
    finding = report.findings[-1]
    head, line = finding.problem.splitlines()
    assert head == "it does not end: told of it 10,000 times, it goes on"
    assert "test_sweep.py:" in line
    assert line.endswith(f"in {op.__name__}")
    again = sweep(op, limit=5.0, at=str(finding.cuts[0]))
    assert [one.problem for one in again.findings] == [finding.problem]


def test_its_twin_passes() -> None:
    report = sweep(retries_in_a_task_and_gives_up, limit=5.0)
    assert report.verdict is Verdict.PASS, str(report)


def test_a_thread_that_is_given_up_ends() -> None:
    before = {*threading.enumerate()}
    sweep(retries, limit=5.0)
    assert {*threading.enumerate()} <= before


def test_a_thread_that_computes_for_ever_after_its_end_is_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("tether.testing.sweeping._plain.LONGEST", 0.2)
    monkeypatch.setattr("tether.testing.sweeping._plain.LAST", 0.05)
    enough = threading.Event()

    def computes(ctx: Context) -> None:
        if ctx.done():
            while not enough.is_set():
                pass

    report = sweep(computes, limit=5.0)
    enough.set()
    said = report.findings[0].problem.splitlines()[0]
    assert said == "it does not end within 0.2 real seconds, in which it does not wait"


# -- a second cancel, in the cleanup -----------------------------------------------


async def rolls_back(pool: Pool) -> None:
    connection = pool.free.pop()
    try:
        await asyncio.sleep(1.0)
    except BaseException:
        await asyncio.sleep(0.1)  # the roll-back
        pool.put(connection)
        raise
    pool.put(connection)


async def rolls_back_whatever_comes(pool: Pool) -> None:
    connection = pool.free.pop()
    try:
        await asyncio.sleep(1.0)
    except BaseException:
        try:
            await asyncio.sleep(0.1)
        finally:
            pool.put(connection)
        raise
    pool.put(connection)


def test_cleanup_is_canceled_as_well_when_asked() -> None:
    once = sweep(rolls_back, setup=Pool)
    assert once.verdict is Verdict.PASS
    twice = sweep(rolls_back, setup=Pool, twice=True)
    (finding,) = twice.findings
    assert "raises IndexError" in finding.problem
    assert all(cut.again is not None for cut in finding.cuts)
    assert "\n  and again, while its cleanup\n    awaits " in str(finding)
    assert ", 4 twice)" in str(twice)  # each way to end its one wait, and then again
    again = sweep(rolls_back, setup=Pool, at=str(finding.cuts[0]))
    assert [one.problem for one in again.findings] == [finding.problem]
    assert again.runs == 2


def test_cleanup_that_is_safe_passes_twice() -> None:
    report = sweep(rolls_back_whatever_comes, setup=Pool, twice=True)
    assert report.verdict is Verdict.PASS, str(report)
    assert len([cut for cut in report.delivered if cut.again]) >= 4


def test_where_one_end_does_harm_two_are_not_tried() -> None:
    report = sweep(slot, setup=Pool, twice=True)
    assert report.verdict is Verdict.FAIL
    assert not [cut for cut in report.delivered if cut.again]


def test_of_a_plain_function_there_is_nothing_more_to_end() -> None:
    def op(ctx: Context) -> None:
        ctx.sleep(1.0)

    assert sweep(op, twice=True).delivered == sweep(op).delivered


# -- plain functions -------------------------------------------------------------


def thread_slot(ctx: Context, pool: list[str]) -> None:
    connection = pool.pop()
    ctx.sleep(1.0)
    pool.append(connection)


def thread_slot_given_back(ctx: Context, pool: list[str]) -> None:
    connection = pool.pop()
    try:
        with ctx.with_timeout(60.0) as budget:
            for _ in budget.poll(range(3), every=1):
                budget.sleep(1.0)
    finally:
        pool.append(connection)


def test_a_plain_function_is_ended_at_each_of_its_looks() -> None:
    report = sweep(thread_slot, setup=lambda: ["one"])
    assert report.verdict is Verdict.FAIL
    assert "IndexError: pop from empty list" in report.findings[0].problem
    assert "in thread_slot #" in str(report)


def test_and_passes_if_it_is_right() -> None:
    report = sweep(thread_slot_given_back, setup=lambda: ["one"])
    assert report.verdict is Verdict.PASS, str(report)
    assert report.places > 10


@pytest.mark.parametrize("frozen", [True, False])
def test_what_the_program_has_frozen_stays_frozen(frozen: bool) -> None:
    there = 50_000  # objects of this suite, at the least
    gc.unfreeze()
    if frozen:
        gc.freeze()
    sweep(slot_given_back, setup=Pool)
    assert (gc.get_freeze_count() > there) == frozen
    gc.freeze()  # as it was


@pytest.mark.parametrize("look", ["check", "err", "done", "poll", "enter"])
def test_the_look_at_which_it_is_ended_finds_the_end(look: str) -> None:
    def op(ctx: Context, pool: list[str]) -> None:
        connection = pool.pop()
        if look == "poll":
            assert [*ctx.poll("a")] == ["a"]
        elif look == "enter":
            with ctx.with_timeout(60.0):
                pass
        elif getattr(ctx, look)():
            return
        pool.append(connection)

    report = sweep(op, setup=lambda: ["one"])
    assert report.verdict is Verdict.FAIL
    assert "IndexError: pop from empty list" in report.findings[0].problem
    assert {cut.place for cut in report.findings[0].cuts} == {
        cut.place for cut in report.delivered if cut.place.nth < 3
    }


def goes_on(ctx: Context, state: dict[str, int]) -> None:
    for _ in range(3):
        with contextlib.suppress(Exception):
            ctx.sleep(1.0)
    state["done"] = 3


def looks_and_leaves(ctx: Context, state: dict[str, int]) -> None:
    for _ in range(3):
        if ctx.wait(1.0) or ctx.err() is not None:
            return
    state["done"] = 3


def gives_a_part_up(ctx: Context, state: dict[str, int]) -> None:
    with contextlib.suppress(DeadlineExceeded), ctx.with_timeout(0.5) as part:
        part.sleep(1.0)  # it is the part that is over, if nothing ends it all
    ctx.check()


def test_an_end_that_a_plain_function_swallows_is_a_finding() -> None:
    report = sweep(goes_on, setup=dict)
    assert report.verdict is Verdict.FAIL
    (finding,) = report.findings
    assert finding.problem == "it swallows the end, and finishes as if none came"


@pytest.mark.parametrize("op", [looks_and_leaves, gives_a_part_up])
def test_one_that_looks_and_leaves_has_not_swallowed_it(
    op: Callable[..., object],
) -> None:
    report = sweep(op, setup=dict)
    assert report.verdict is Verdict.PASS, str(report)


def test_a_thread_that_waits_elsewhere_is_told_with_where_and_left() -> None:
    pools: list[queue.Queue[str]] = []

    def setup() -> queue.Queue[str]:
        pools.append(queue.Queue())
        pools[-1].put("one")
        return pools[-1]

    def op(ctx: Context, pool: queue.Queue[str]) -> None:
        connection = pool.get()
        ctx.check()
        pool.put(connection)

    report = sweep(op, setup=setup, limit=10.0)
    for pool in pools:
        pool.put("one")  # what waits there ends now
    (finding,) = report.findings
    head, *lines = finding.problem.splitlines()
    assert head == "the same operation on the same state does not end within 10 s"
    assert lines[-1].endswith(
        "in test_a_thread_that_waits_elsewhere_is_told_with_where_and_left.<locals>.op"
    )
    assert any(line.endswith("in Queue.get") for line in lines)


def test_a_thread_that_does_not_end_is_told() -> None:
    over = threading.Event()

    def stuck(ctx: Context) -> None:
        while not ctx.wait(1.0):
            pass
        if not over.is_set():
            with contextlib.suppress(ContextError):
                ctx.check()

    report = sweep(stuck, limit=10.0)
    assert report.verdict is Verdict.UNRESOLVED
    assert "it does not end within 10 s" in str(report)


def test_a_group_in_threads() -> None:
    def work(ctx: Context) -> None:
        ctx.sleep(1.0)

    def parent(ctx: Context) -> None:
        with Group(ctx) as group:
            group.go(work)
            group.go(work)

    report = sweep(parent)
    assert report.verdict is Verdict.PASS, str(report)


# -- what cannot be swept ----------------------------------------------------------


def test_what_cannot_be_called_is_said() -> None:
    async def needs(a: int, b: int) -> None: ...

    def takes_nothing() -> None: ...

    async def main() -> None:
        sweep(lets_pass)

    for wrong, said in [
        (lambda: sweep(needs), "takes more: a, b"),
        (lambda: sweep(takes_nothing), "takes none. If it returns a coroutine"),
        (lambda: sweep(lambda ctx: needs(1, 2)), "give sweep.. the async def itself"),
        (lambda: sweep(3), "3"),  # type: ignore[arg-type]
        (lambda: sweep(lets_pass, setup=3), "setup"),  # type: ignore[arg-type]
        (lambda: asyncio.run(main()), "one runs here"),
    ]:
        with pytest.raises((TypeError, RuntimeError), match=said):
            wrong()
    for bad in (0.0, -1.0, float("nan")):
        with pytest.raises(ValueError, match="limit"):
            sweep(lets_pass, limit=bad)
    with pytest.raises(ValueError, match="no place of a sweep"):
        sweep(lets_pass, at="somewhere")
    with pytest.raises(ValueError, match="no place of a sweep"):
        sweep(lets_pass, at="shop.py:4 in buy #1 early cancel, again here")


# -- the command -------------------------------------------------------------------


def command(*words: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["sweep", *words])
    return result.exit_code, result.output


HERE = "tests.testing.test_sweep"


def test_the_command_says_it_with_its_status() -> None:
    code, said = command(f"{HERE}:slot_given_back", "--setup", f"{HERE}:Pool")
    assert (code, said.split()[0]) == (0, "PASS")
    code, said = command(f"{HERE}:slot", "--setup", f"{HERE}:Pool")
    assert (code, said.split()[0]) == (1, "FAIL")
    place = said.partition("replay: at='")[2].partition("'")[0]
    code, said = command(f"{HERE}:slot", "--setup", f"{HERE}:Pool", "--at", place)
    assert (code, said.split()[0]) == (1, "FAIL")
    words = [f"{HERE}:rolls_back", "--setup", f"{HERE}:Pool"]
    assert command(*words)[0] == 0
    assert command(*words, "--twice")[0] == 1
    code, said = command(f"{HERE}:nothing_to_wait_for")
    assert (code, said.split()[0]) == (2, "UNRESOLVED")


async def nothing_to_wait_for() -> None: ...


async def exits() -> None:
    try:
        await asyncio.sleep(1.0)
    except asyncio.CancelledError:
        sys.exit(0)


def breaks(pool: Pool) -> bool:
    raise LookupError(pool)


def exits_as_setup() -> None:
    sys.exit(0)


def test_nothing_but_a_pass_ends_it_with_0() -> None:
    code, said = command(f"{HERE}:exits")
    assert (code, said.split()[0]) == (1, "FAIL")
    words = [f"{HERE}:slot_given_back", "--setup", f"{HERE}:Pool"]
    code, said = command(*words, "--check", f"{HERE}:breaks")
    assert code == 2
    assert "raises LookupError" in " ".join(said.split())
    assert command(*words, "--check", f"{HERE}:exits_as_setup")[0] == 2
    assert command(f"{HERE}:lets_pass", "--setup", f"{HERE}:exits_as_setup")[0] == 2
    assert command(f"{HERE}:lets_pass", "--setup", f"{HERE}:breaks_as_setup")[0] == 2


def breaks_as_setup() -> None:
    raise LookupError


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["shop"], "is not MODULE:FUNCTION"),
        (["no_such_module:f"], "cannot be imported"),
        ([f"{HERE}:nothing_here"], "has no nothing_here"),
        ([f"{HERE}:HERE"], "is no function"),
        ([f"{HERE}:lets_pass", "--at", "here"], "no place of a sweep"),
        ([f"{HERE}:slot", "--limit", "0"], "range"),
    ],
)
def test_what_the_command_cannot_do_is_said_and_ends_with_2(
    words: list[str], said: str
) -> None:
    code, output = command(*words)
    assert code == 2
    assert said in output


def test_a_report_reads_well() -> None:
    report: Report = sweep(slot, setup=Pool)
    said = str(report)
    assert said.startswith(f"FAIL  {HERE}:slot: 1 finding, ended at 1 of 1 places")
    assert "replay: at=" in said
    assert "in slot" in said
