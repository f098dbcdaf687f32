"""What a look finds: groups, growth, what is waited for, who holds it, what is over."""

from __future__ import annotations

import asyncio
import json
import sys
import threading
import weakref
from collections.abc import Callable, Coroutine
from contextlib import ExitStack
from contextvars import Context as Variables
from dataclasses import asdict
from types import FunctionType
from typing import Any, cast

import anyio
import anyio.to_thread
import pytest

from tests.debug.sick import PREFETCH, sick
from tests.loops import Run
from tether import (
    Group,
    Queue,
    Scope,
    Semaphore,
    background,
    debug,
    to_thread,
    todo,
)
from tether._context import Context
from tether.debug import Look, Resource


async def look(page: debug.Server) -> Look:
    return await asyncio.to_thread(page.look)


async def look_at(page: debug.Server, *work: Coroutine[Any, Any, None]) -> Look:
    """What the page finds while so many tasks wait."""
    tasks = [asyncio.create_task(one) for one in work]
    for _ in range(3):
        await asyncio.sleep(0)
    found = await look(page)
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    return found


def of_root(look: Look, root: str) -> list[debug.Group]:
    return [group for group in look.tasks if group.root == root]


def resource(look: Look, part: str) -> Resource:
    [one] = [one for one in look.resources if part in one.name]
    return one


def test_what_has_no_label_is_told_by_its_root(page: debug.Server, run: Run) -> None:
    async def forgotten(ctx: Context) -> None:
        with ctx.with_timeout(60.0):
            await asyncio.sleep(3600.0)

    async def main() -> Look:
        return await look_at(page, forgotten(background()), forgotten(todo()))

    found = run(main)
    assert {group.root for group in found.tasks} >= {"background()", "todo()"}
    assert {one.label for one in found.contexts} == {"background()", "todo()"}


def test_where_python_knows_no_line_the_first_of_the_function_is_told(
    page: debug.Server, run: Run
) -> None:
    async def lost() -> None:
        await asyncio.sleep(3600.0)

    lost.__code__ = lost.__code__.replace(co_linetable=b"")
    first = lost.__code__.co_firstlineno
    found = run(lambda: look_at(page, lost()))
    lines = [line for group in found.tasks for line in group.stack]
    assert [line.line for line in lines if "lost" in line.function] == [first]


def test_tasks_of_one_root_in_the_same_functions_are_one_group(
    page: debug.Server, run: Run
) -> None:
    async def main() -> Look:
        async with sick(50):
            return await look(page)

    waiting, holding = sorted(of_root(run(main), PREFETCH), key=lambda one: -one.count)
    assert (waiting.count, holding.count) == (48, 2)
    functions = [line.function for line in waiting.stack]
    assert functions[:2] == ["handler", "load"]
    assert functions[-1].endswith("acquire")
    assert waiting.oldest is not None
    assert waiting.unlimited == 48


def test_a_lock_of_asyncio_has_a_name_and_its_holders(
    page: debug.Server, run: Run
) -> None:
    async def main() -> Look:
        async with sick(50):
            return await look(page)

    slots = resource(run(main), "Pool.slots")
    assert (slots.waiting, slots.holder_count, slots.state) == (48, 2, "0 free")
    [holder] = slots.holders
    assert (holder.root, holder.count) == (PREFETCH, 2)
    assert "in load()" in holder.at


def test_who_holds_a_semaphore_of_ours_is_told(page: debug.Server, run: Run) -> None:
    places = Semaphore(1)

    async def work(ctx: Context, until: asyncio.Event) -> None:
        async with places.held(ctx):
            await until.wait()

    async def main() -> Look:
        until = asyncio.Event()
        with background().with_cancel(label="export") as ctx:
            async with Group(ctx) as group:
                for _ in range(5):
                    group.go(work, until)
                await asyncio.sleep(0.0)
                found = await look(page)
                until.set()
        return found

    one = resource(run(main), "Semaphore places")
    assert (one.waiting, one.holder_count, one.state) == (4, 1, "0 of 1 free")
    assert one.holders[0].root == "export"
    assert one.note == ""


async def take(label: str, first: asyncio.Lock, second: asyncio.Lock) -> None:
    with background().with_cancel(label=label):
        async with first:
            await asyncio.sleep(0)
            async with second:
                pass


def test_what_a_holder_waits_for_is_told_so_that_a_deadlock_shows(
    page: debug.Server, run: Run
) -> None:
    async def main() -> Look:
        left, right = asyncio.Lock(), asyncio.Lock()
        return await look_at(page, take("one", left, right), take("two", right, left))

    locks = [one for one in run(main).resources if one.kind == "asyncio.Lock"]
    holders = [one.holders[0] for one in locks]
    assert sorted(holder.root for holder in holders) == ["one", "two"]
    waits = "> asyncio.Lock second of take()"
    assert all(holder.at.endswith(waits) for holder in holders)


def test_who_waits_for_the_lock_that_it_holds_is_told(
    page: debug.Server, run: Run
) -> None:
    async def twice(lock: asyncio.Lock) -> None:
        async with lock:
            async with lock:
                pass

    async def main() -> Look:
        lock = asyncio.Lock()
        return await look_at(page, *[twice(lock) for _ in range(3)])

    [one] = [one for one in run(main).resources if one.kind == "asyncio.Lock"]
    assert (one.waiting, one.holder_count) == (3, 1)


def test_what_a_holder_has_in_its_variables_is_not_touched(
    page: debug.Server, run: Run
) -> None:
    touched: list[str] = []

    class Lazy:  # as Django's request.user, or werkzeug's request
        def __getattr__(self, name: str) -> object:
            touched.append(name)
            raise RuntimeError("outside of a request")

    class Thing:
        pass

    async def hold(lock: asyncio.Lock, until: asyncio.Event) -> object:
        user, thing = Lazy(), Thing()
        gone = weakref.proxy(thing)
        del thing
        async with lock:
            await until.wait()
        return user, gone

    async def main() -> Look:
        lock, until = asyncio.Lock(), asyncio.Event()
        holder = asyncio.create_task(hold(lock, until))
        await asyncio.sleep(0)
        waiter = asyncio.create_task(lock.acquire())
        await asyncio.sleep(0)
        found = await look(page)
        until.set()
        await asyncio.gather(holder, waiter)
        return found

    [one] = [one for one in run(main).resources if one.kind == "asyncio.Lock"]
    assert one.holder_count == 1
    assert touched == []


def test_the_holder_of_a_permit_is_found_at_each_look(
    page: debug.Server, run: Run
) -> None:
    class Permit:
        def __init__(self, lock: asyncio.Lock) -> None:
            self.lock = lock

        async def __aenter__(self) -> None:
            await self.lock.acquire()

        async def __aexit__(self, *_: object) -> None:
            self.lock.release()

    async def hold(permit: Permit, until: asyncio.Event) -> None:
        async with permit:
            await until.wait()

    async def main() -> list[Look]:
        lock, until = asyncio.Lock(), asyncio.Event()
        mine = Permit(lock)
        holder = asyncio.create_task(hold(mine, until))
        await asyncio.sleep(0)
        waiter = asyncio.create_task(lock.acquire())
        await asyncio.sleep(0)
        found = [await look(page)]
        assert vars(mine)  # a debugger has looked at it
        found.append(await look(page))
        until.set()
        await asyncio.gather(holder, waiter)
        return found

    for found in run(main):
        [one] = [one for one in found.resources if one.kind == "asyncio.Lock"]
        assert one.holder_count == 1


def test_the_work_of_a_group_waits_for_what_it_called_and_not_for_its_group(
    page: debug.Server, run: Run
) -> None:
    async def work(ctx: Context) -> None:
        await ctx.sleep_async(60.0)

    async def own(ctx: Context) -> None:
        async with Group(ctx) as mine:
            mine.go(work)
            mine.go(work)

    async def main() -> Look:
        with background().with_cancel(label="export") as ctx:
            task = asyncio.create_task(own(ctx))
            for _ in range(3):
                await asyncio.sleep(0)
            found = await look(page)
            task.cancel()
            await asyncio.wait([task])
        return found

    found = run(main)
    groups = of_root(found, "export")
    [working] = [group for group in groups if group.count == 2]
    assert working.waits == "Context.sleep_async()"
    one = resource(found, "Group")
    assert one.name == "Group mine of " + own.__qualname__ + "()"
    assert one.waiting == 1
    assert one.holders[0].at.endswith("> Context.sleep_async()")


def test_a_group_that_a_thread_is_only_making_is_no_error(page: debug.Server) -> None:
    began, until = threading.Event(), threading.Event()

    class Slow(Group):
        def __init__(self) -> None:
            began.set()
            until.wait()
            super().__init__()

    thread = threading.Thread(target=Slow)
    thread.start()
    began.wait()
    found = page.look()
    until.set()
    thread.join()
    assert [one for one in found.resources if one.kind.endswith("Slow")] == []


def test_it_is_said_that_a_holder_is_not_seen(page: debug.Server, run: Run) -> None:
    async def main() -> Look:
        lock = asyncio.Lock()
        await lock.acquire()
        waiter = asyncio.create_task(lock.acquire(), name="waiter")
        await asyncio.sleep(0)
        found = await look(page)
        lock.release()
        await waiter
        return found

    [one] = [one for one in run(main).resources if one.kind == "asyncio.Lock"]
    assert one.waiting == 1
    assert one.holders == []
    assert "not seen" in one.note


def test_a_free_lock_has_no_holder_to_miss(page: debug.Server, run: Run) -> None:
    async def main() -> Look:
        queue: Queue[int] = Queue()
        getter = asyncio.create_task(queue.get_async(background()))
        await asyncio.sleep(0)
        found = await look(page)
        queue.put_nowait(1)
        await getter
        return found

    [one] = [one for one in run(main).resources if one.kind == "Queue"]
    assert (one.waiting, one.holders, one.note, one.state) == (1, [], "", "0 items")


def test_a_task_without_a_context_says_so(page: debug.Server, run: Run) -> None:
    async def main() -> Look:
        until = asyncio.Event()
        task = asyncio.create_task(until.wait())
        await asyncio.sleep(0)
        found = await look(page)
        until.set()
        await task
        return found

    # In empty variables: a test before may have left a block elsewhere than it began.
    groups = of_root(Variables().run(run, main), "no context")
    assert any("wait" in group.stack[-1].function for group in groups if group.stack)


def test_contexts_older_than_the_page_are_on_it(run: Run) -> None:
    async def main() -> Look:
        with background().with_timeout(60.0, label="early"):
            with debug.serve(port=0) as page:
                return await look(page)

    [branch] = [one for one in run(main).contexts if one.label == "early"]
    assert branch.count == 1
    assert "test_look.py" in branch.site
    assert branch.remaining is not None
    assert 0.0 < branch.remaining <= 60.0


def test_a_proxy_of_what_is_gone_does_not_stop_the_page() -> None:
    class Thing:
        pass

    thing = Thing()
    gone = weakref.proxy(thing)
    del thing
    with debug.serve(port=0) as page:
        assert page.look().pid
    del gone


def test_open_contexts_are_a_tree_of_places(page: debug.Server, run: Run) -> None:
    async def main() -> Look:
        with background().with_cancel(label="outer") as ctx:
            with ctx.with_timeout(9.0, label="inner"):
                return await look(page)

    [outer] = [one for one in run(main).contexts if one.label == "outer"]
    [inner] = outer.children
    assert (outer.count, inner.label, inner.count) == (1, "inner", 1)


def test_the_tree_of_contexts_has_an_end(page: debug.Server) -> None:
    with ExitStack() as stack:
        ctx: Context = background()
        for _ in range(1000):
            ctx = stack.enter_context(ctx.with_cancel(label="deep"))
        found = page.look()
    [branch] = [one for one in found.contexts if one.label == "deep"]
    counts = [branch.count]
    while branch.children:
        [branch] = branch.children
        counts.append(branch.count)
    assert counts == [1] * 99 + [901]  # all are counted


def test_left_contexts_are_not_on_it(page: debug.Server) -> None:
    with background().with_cancel(label="left") as ctx:
        pass
    assert not [one for one in page.look().contexts if one.label == "left"]
    assert ctx.done()


def test_what_ignores_its_end_is_over_but_still_running(
    page: debug.Server, run: Run
) -> None:
    async def stubborn(told: asyncio.Event, until: asyncio.Event) -> None:
        with background().with_timeout(0.01, label="stubborn"):
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                told.set()
                await until.wait()
                raise

    async def main() -> Look:
        told, until = asyncio.Event(), asyncio.Event()
        task = asyncio.create_task(stubborn(told, until))
        await told.wait()
        found = await look(page)
        until.set()
        await asyncio.wait([task])
        assert isinstance(task.exception(), TimeoutError)
        return found

    found = run(main)
    [late] = [one for one in found.overdue if one.label == "stubborn"]
    assert found.over_count == 1
    assert "0.01" in late.why
    assert "stubborn()" in late.task
    assert late.over >= 0.0
    [group] = of_root(found, "stubborn")
    assert group.expired == 1


def test_a_block_whose_task_has_ended_is_not_running(page: debug.Server) -> None:
    async def forgets() -> Scope:
        scope = background().with_cancel(label="forgotten")
        scope.__enter__()
        return scope

    async def main() -> Look:
        scope = await asyncio.create_task(forgets())
        scope.cancel()
        found = await look(page)
        scope.__exit__(None, None, None)
        return found

    found = asyncio.run(main())
    assert [one for one in found.overdue if one.label == "forgotten"] == []
    assert found.over_count == 0


def test_of_what_is_over_the_line_of_its_thread_is_told(
    page: debug.Server, run: Run
) -> None:
    def stubborn(ctx: Context, until: threading.Event) -> None:
        wait_for(until)

    async def call(until: threading.Event) -> None:
        with background().with_timeout(0.01, label="thread") as ctx:
            await to_thread(ctx, stubborn, until)

    async def main() -> list[debug.Overdue]:
        until = threading.Event()
        task = asyncio.create_task(call(until))
        late: list[debug.Overdue] = []
        while not late:
            late = [one for one in (await look(page)).overdue if one.label == "thread"]
        until.set()
        await asyncio.wait([task])
        return late

    [late] = run(main)
    assert "call()" in late.task
    assert "stubborn()" in late.at
    assert "threading.py" in late.at


def test_a_look_ends_nothing_that_has_not_ended(page: debug.Server) -> None:
    with background().with_timeout(60.0, label="alive") as ctx:
        page.look()
        assert ctx._end is None
        assert ctx._hooks is None


def test_a_thread_is_of_the_root_it_works_for(page: debug.Server, run: Run) -> None:
    def work(ctx: Context, began: threading.Event, until: threading.Event) -> None:
        began.set()
        until.wait()

    async def main() -> Look:
        began, until = threading.Event(), threading.Event()
        with background().with_cancel(label="report") as ctx:
            task = asyncio.create_task(to_thread(ctx, work, began, until))
            await asyncio.to_thread(began.wait)
            found = await look(page)
            until.set()
            await task
        return found

    [group] = [
        group
        for group in run(main).threads
        if "work" in [line.function.split(".")[-1] for line in group.stack]
    ]
    assert group.root == "report"


def wait_for(until: threading.Event) -> None:
    until.wait()


@pytest.mark.parametrize("how", ["asyncio", "anyio"])
def test_a_thread_of_a_pool_is_of_the_root_it_was_given(
    page: debug.Server, how: str
) -> None:
    async def main() -> Look:
        began, until = threading.Event(), threading.Event()

        def work() -> None:
            began.set()
            wait_for(until)

        with background().with_timeout(60.0, label="GET /report"):
            if how == "asyncio":
                task = asyncio.create_task(asyncio.to_thread(work))
            else:
                task = asyncio.create_task(anyio.to_thread.run_sync(work))
            while not began.is_set():
                await asyncio.sleep(0)
            found = page.look()
            until.set()
            await task
        return found

    [group] = [
        group
        for group in asyncio.run(main()).threads
        if "wait_for" in [line.function for line in group.stack]
    ]
    assert (group.root, group.unlimited) == ("GET /report", 0)


def test_a_look_keeps_nothing_of_what_a_thread_lets_go_of(page: debug.Server) -> None:
    class Large:
        pass

    began, until, gone = threading.Event(), threading.Event(), threading.Event()
    kept: list[weakref.ref[Large]] = []

    def work() -> None:
        large = Large()
        kept.append(weakref.ref(large))
        wait_for_two(began, until)
        del large
        gone.set()
        wait_for(until_looked)

    until_looked = threading.Event()
    thread = threading.Thread(target=work)
    thread.start()
    began.wait()
    page.look()
    until.set()
    gone.wait()
    assert kept[0]() is None
    until_looked.set()
    thread.join()


def wait_for_two(began: threading.Event, until: threading.Event) -> None:
    began.set()
    until.wait()


def test_a_thread_is_of_the_root_whose_block_it_is_in(page: debug.Server) -> None:
    began, until = threading.Event(), threading.Event()

    def serve() -> None:  # as a server of WSGI or gRPC does for each request
        with background().with_timeout(60.0, label="GET /export") as ctx:
            began.set()
            wait_for(until)
        assert ctx.done()

    thread = threading.Thread(target=serve)
    thread.start()
    began.wait()
    [group] = [one for one in page.look().threads if one.root == "GET /export"]
    until.set()
    thread.join()
    assert (group.count, group.unlimited) == (1, 0)


def test_who_waits_for_something_of_its_own_is_not_said_to_share_it(
    page: debug.Server, run: Run
) -> None:
    async def one() -> None:
        with background().with_cancel(label="own"):
            mine = asyncio.Event()
            await mine.wait()

    async def main() -> Look:
        return await look_at(page, *[one() for _ in range(50)])

    found = run(main)
    [group] = of_root(found, "own")
    assert group.waits.endswith("(one each)")
    assert [one.waiting for one in found.resources if "mine" in one.name] == [1]


async def held(label: str, until: asyncio.Event) -> None:
    with background().with_cancel(label=label):
        await until.wait()


def test_labels_with_ids_are_told_as_one(page: debug.Server, run: Run) -> None:
    async def main() -> Look:
        until = asyncio.Event()
        carts = [held(f"GET /carts/{number}", until) for number in range(1000, 1900)]
        late = [held("GET /cart", until) for _ in range(100)]
        return await look_at(page, *carts, *late)

    found = run(main)
    folded = "GET /carts/1… (900 labels)"
    counts = {one.root: one.count for one in found.tasks if one.root.startswith("GET")}
    assert counts == {folded: 900, "GET /cart": 100}
    branches = {one.label: one.count for one in found.contexts}
    assert (branches[folded], branches["GET /cart"]) == (900, 100)
    assert len(json.dumps(asdict(found))) < 100_000


def test_a_group_of_many_labels_is_the_same_at_the_next_look(
    page: debug.Server, run: Run
) -> None:
    async def main(first: int) -> Look:
        until = asyncio.Event()
        carts = [held(f"GET /carts/{first + n}", until) for n in range(300)]
        return await look_at(page, *carts)

    def told(found: Look) -> set[str]:
        return {one.id for one in found.tasks if one.root.startswith("GET /carts/")}

    assert told(run(lambda: main(0))) == told(run(lambda: main(5000)))


def test_as_many_labels_as_there_are_routes_are_told_one_by_one(
    page: debug.Server, run: Run
) -> None:
    async def main() -> Look:
        until = asyncio.Event()
        return await look_at(page, *[held(f"GET /{n}", until) for n in range(200)])

    roots = {one.root for one in run(main).tasks}
    assert {f"GET /{n}" for n in range(200)} <= roots


def test_of_very_many_groups_and_branches_the_small_are_counted_together(
    page: debug.Server, run: Run
) -> None:
    async def one(until: asyncio.Event) -> None:
        with background().with_cancel(label="many"):
            await until.wait()

    def another(number: int) -> Callable[[asyncio.Event], Coroutine[Any, Any, None]]:
        code = one.__code__.replace(co_firstlineno=1000 + number)
        made = FunctionType(code, one.__globals__)
        return cast(Callable[[asyncio.Event], Coroutine[Any, Any, None]], made)

    async def main() -> Look:
        until = asyncio.Event()
        return await look_at(page, *[another(number)(until) for number in range(700)])

    found = run(main)
    assert len(found.tasks) <= 301
    assert sum(group.count for group in found.tasks) == found.task_count
    assert any(group.root.endswith(" smaller groups") for group in found.tasks)
    assert len(found.contexts) <= 501
    assert sum(branch.count for branch in found.contexts) == found.context_count
    assert any(branch.label.endswith(" more") for branch in found.contexts)


def test_who_waits_for_a_task_of_its_own_is_not_said_to_share_it(
    page: debug.Server, run: Run
) -> None:
    async def child(until: asyncio.Event) -> None:
        await until.wait()

    async def parent(until: asyncio.Event) -> None:
        with background().with_cancel(label="parent"):
            await asyncio.create_task(child(until))

    async def main() -> Look:
        until = asyncio.Event()
        return await look_at(page, *[parent(until) for _ in range(50)])

    found = run(main)
    waits = [one.waits for one in found.tasks if len(one.stack) == 1]
    assert "task child() (one each)" in waits
    assert [one.waiting for one in found.resources if one.kind == "Task"] == [1]


def test_who_waits_for_a_nameless_thing_of_its_own_is_not_said_to_share_it(
    page: debug.Server, run: Run
) -> None:
    answers: dict[int, asyncio.Event] = {}

    async def ask(number: int) -> None:
        with background().with_cancel(label="ask"):
            answers[number] = asyncio.Event()
            await answers[number].wait()

    async def main() -> Look:
        return await look_at(page, *[ask(number) for number in range(50)])

    [group] = of_root(run(main), "ask")
    assert group.waits.startswith("asyncio.Event in ")
    assert group.waits.endswith("ask() (one each)")


def test_of_two_nameless_things_it_is_said_how_many_wait_for_the_one(
    page: debug.Server, run: Run
) -> None:
    pools: list[asyncio.Event] = []

    async def ask(number: int) -> None:
        with background().with_cancel(label="two"):
            await pools[number % 2].wait()

    async def main() -> Look:
        pools[:] = [asyncio.Event(), asyncio.Event()]
        return await look_at(page, *[ask(number) for number in range(20)])

    found = run(main)
    [group] = of_root(found, "two")
    assert group.waits.endswith("(10 of 20 looked at)")
    named = group.waits.removesuffix(" (10 of 20 looked at)")
    assert resource(found, named).waiting == 10


def test_a_lock_has_one_holder_however_many_tasks_hold_one_like_it(
    page: debug.Server, run: Run
) -> None:
    async def hold(lock: asyncio.Lock) -> None:
        async with lock:
            await asyncio.Event().wait()

    async def main() -> list[Look]:
        locks = [asyncio.Lock() for _ in range(1000)]
        tasks = [asyncio.create_task(hold(lock)) for lock in locks]
        await asyncio.sleep(0)
        looks = []
        for lock in locks[::50]:
            waiter = asyncio.create_task(lock.acquire())
            await asyncio.sleep(0)
            looks.append(await look(page))
            waiter.cancel()
            await asyncio.wait([waiter])
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        return looks

    said = set()
    for found in run(main):
        [one] = [one for one in found.resources if one.kind == "asyncio.Lock"]
        said.add((one.holder_count, "not among the first 300" in one.note))
    assert said <= {(1, False), (0, True)}
    assert (0, True) in said


def test_growth_is_that_between_two_looks(page: debug.Server, run: Run) -> None:
    async def main() -> tuple[Look, Look]:
        async with sick(10):
            first = await look(page)
            await asyncio.sleep(debug._watch.APART)
            async with sick(100):
                return first, await look(page)

    first, second = run(main)
    assert first.growth is None
    assert second.growth is not None
    assert second.growth > 0.0
    most = max(of_root(second, PREFETCH), key=lambda one: one.growth or 0.0)
    assert second.tasks[0] is most
    assert most.growth is not None
    assert most.growth > 0.0
    assert most.since > 0.0


def test_what_hardly_grows_does_not_stand_above_what_there_is_most_of() -> None:
    watch = debug._watch.Watch()

    def compared(**counts: int) -> list[str]:
        groups = [
            debug.Group(
                *(name, "task", name, count, [], 1, None, 0, 0, None, "", "", "", [])
            )
            for name, count in counts.items()
        ]
        found = watch.look()
        found.tasks[:] = groups
        watch._compare(found, at)
        return [group.root for group in found.tasks]

    at = 1e9
    compared(few=1, many=40_000, growing=3)
    at += 20.0
    assert compared(few=2, many=39_000, growing=300) == ["growing", "many", "few"]


def test_after_a_pause_a_growth_is_not_spread_over_the_pause() -> None:
    watch = debug._watch.Watch()

    def growth(at: float) -> float | None:
        found = watch.look()
        found.growth = None
        watch._compare(found, at)
        return found.growth

    at = 1e9
    growth(at)
    assert growth(at + 60.0) is not None
    assert growth(at + 3 * 3600.0) is None
    assert growth(at + 3 * 3600.0 + 1.0) is not None


def test_one_look_is_for_all_who_wait_for_it(
    page: debug.Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    began, until = threading.Event(), threading.Event()
    watch = page._watch
    take, taken = watch._look, 0

    def slow() -> Look:
        nonlocal taken
        taken += 1
        began.set()
        until.wait()
        return take()

    monkeypatch.setattr(watch, "_look", slow)
    first = threading.Thread(target=page.look)
    first.start()
    began.wait()
    late = [threading.Thread(target=page.look) for _ in range(5)]
    for thread in late:
        thread.start()
        while not asked(thread):
            pass
    until.set()
    for thread in (first, *late):
        thread.join()
    # That which went on as they came may be older than what they ask about.
    assert taken == 2


def asked(thread: threading.Thread) -> bool:
    """Whether it waits for its turn."""
    frame = sys._current_frames().get(thread.ident or 0)
    return (
        frame is not None
        and frame.f_code is debug._watch.Watch.look.__code__
        and "asked" in frame.f_locals
    )


def test_forty_one_thousand_stuck_tasks_are_told_by_one_look(
    page: debug.Server,
) -> None:
    async def main() -> Look:
        async with sick(41_000, size=20):
            return await look(page)

    found = asyncio.run(main())
    slots = resource(found, "Pool.slots")
    assert slots.waiting == 40_980
    assert slots.holder_count == 20
    assert found.context_count == 41_000


@pytest.mark.stress
def test_looking_while_tasks_come_and_go_finds_no_error(
    page: debug.Server, run: Run, switching: None
) -> None:
    async def leaf() -> None:
        with background().with_cancel(label="short"):
            await asyncio.sleep(0)

    async def main() -> int:
        done = threading.Event()
        looks = 0

        def watch() -> None:
            nonlocal looks
            while not done.is_set():
                page.look()
                looks += 1

        watcher = asyncio.create_task(asyncio.to_thread(watch))
        for _ in range(300):
            await asyncio.gather(*[leaf() for _ in range(50)])
        done.set()
        await watcher  # an error of a look comes out here
        return looks

    assert run(main) > 0
