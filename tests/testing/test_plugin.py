"""The pytest plugin, under the runners that people use."""

from __future__ import annotations

import textwrap

import pytest

pytest_plugins = ["pytester"]

PLUGINS = {
    "pytest-asyncio": ["-p", "pytest_asyncio.plugin", "-o", "asyncio_mode=auto"],
    "anyio": ["-p", "anyio.pytest_plugin", "-o", "anyio_mode=auto"],
}
HEAD = """
import asyncio, threading, unittest
import pytest

KEPT = []

async def waits():
    await asyncio.get_running_loop().create_future()
"""


class Suite:
    """Runs a suite of its own in another process."""

    def __init__(self, pytester: pytest.Pytester) -> None:
        self._pytester = pytester

    def __call__(self, source: str, *options: str) -> pytest.RunResult:
        self._pytester.makepyfile(test_it=HEAD + textwrap.dedent(source))
        return self._pytester.runpytest_subprocess(
            *("-p", "tether.testing.plugin", "-p", "no:randomly", "-q"),
            *("-p", "no:cacheprovider", "--strict-markers", *options),
        )


@pytest.fixture
def suite(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Suite:
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    return Suite(pytester)


STRICT = ("-o", "tether_leaks=strict")


def test_it_is_quiet_until_it_is_asked(suite: Suite) -> None:
    source = """
    def test_leaks():
        KEPT.append(open(__file__))

    def test_nothing_is_watched():
        import tether.testing.leaks._watch as watch
        assert watch._open == []
        assert asyncio.BaseEventLoop.create_task.__module__ == "asyncio.base_events"
    """
    suite(source).assert_outcomes(passed=2)


def test_the_marker_asks_for_one_test_and_its_words_are_checked(suite: Suite) -> None:
    source = """
    @pytest.mark.tether_leaks
    def test_leaks():
        KEPT.append(open(__file__))

    def test_is_not_asked():
        KEPT.append(open(__file__))

    @pytest.mark.tether_leaks(ignore=["file"])
    def test_may():
        KEPT.append(open(__file__))
    """
    result = suite(source)
    result.assert_outcomes(passed=3, errors=1)
    result.stdout.fnmatch_lines(["*file: *test_it.py*", "*with open(...) as file:*"])
    suite("def test(): pass", "-o", "tether_leaks=perhaps").stderr.fnmatch_lines(
        ["*tether_leaks is strict or off, not 'perhaps'*"]
    )


@pytest.mark.parametrize("plugin", PLUGINS)
def test_tasks_are_told_under_each_plugin_and_nothing_hangs(
    suite: Suite, plugin: str
) -> None:
    source = """
    async def test_keeps_a_task():
        KEPT.append(asyncio.create_task(waits()))
        await asyncio.sleep(0)

    async def test_has_one_that_swallows_cancel():
        async def stubborn():
            while True:
                try:
                    await waits()
                except asyncio.CancelledError:
                    pass
        KEPT.append(asyncio.create_task(stubborn()))
        await asyncio.sleep(0)

    async def test_is_clean():
        await asyncio.gather(asyncio.sleep(0), asyncio.sleep(0.001))

    async def test_has_one_that_ends_soon():
        KEPT.append(asyncio.create_task(asyncio.sleep(0.06)))
        await asyncio.sleep(0)
    """
    if plugin == "anyio":
        source = "\n    pytestmark = pytest.mark.anyio\n" + source
        source = (
            "\n    @pytest.fixture\n    def anyio_backend(): return 'asyncio'\n"
            + source
        )
    result = suite(source, *STRICT, *PLUGINS[plugin])
    result.assert_outcomes(passed=4, errors=2)
    result.stdout.fnmatch_lines(["*task: *: waits()*", "*task that swallows cancel: *"])


def test_plain_asyncio_and_unittest(suite: Suite) -> None:
    source = """
    def test_plain():
        async def main():
            KEPT.append(asyncio.create_task(waits()))
            await asyncio.sleep(0)
        asyncio.run(main())

    class TestCase(unittest.IsolatedAsyncioTestCase):
        async def test_case(self):
            KEPT.append(asyncio.create_task(waits()))
            await asyncio.sleep(0)

        async def test_clean(self):
            await asyncio.sleep(0)
    """
    suite(source, *STRICT).assert_outcomes(passed=3, errors=2)


def test_what_a_fixture_leaves_behind_in_its_teardown(suite: Suite) -> None:
    source = """
    @pytest.fixture
    def leaky():
        yield
        KEPT.append(open(__file__))

    def test_it(leaky):
        pass
    """
    suite(source, *STRICT).assert_outcomes(passed=1, errors=1)


def test_what_wider_fixtures_hold_is_no_test_s_and_is_checked_at_their_end(
    suite: Suite,
) -> None:
    source = """
    @pytest.fixture(scope="module")
    def clean():
        with open(__file__) as file:
            yield file

    @pytest.fixture(scope="module")
    def leaky():
        KEPT.append(open(__file__))

    def test_one(clean):
        pass

    def test_two(clean, leaky):
        pass

    def test_three(clean):
        pass
    """
    result = suite(source, *STRICT)
    result.assert_outcomes(passed=3, errors=1)
    result.stdout.fnmatch_lines(["*teardown of test_three*", "*module fixture leaky*"])


def test_the_tasks_of_a_loop_of_the_module_are_told_apart(suite: Suite) -> None:
    source = """
    import pytest_asyncio
    pytestmark = pytest.mark.asyncio(loop_scope="module")

    @pytest_asyncio.fixture(scope="module", loop_scope="module")
    async def service():
        task = asyncio.create_task(waits())
        yield task
        task.cancel()

    async def test_uses_it(service):
        assert not service.done()

    async def test_leaks(service):
        KEPT.append(asyncio.create_task(waits()))
        await asyncio.sleep(0)

    async def test_is_clean_beside_the_leak(service):
        KEPT.append(asyncio.create_task(asyncio.sleep(0.06)))
    """
    result = suite(source, *STRICT, "-p", "pytest_asyncio.plugin")
    result.assert_outcomes(passed=3, errors=1)
    result.stdout.fnmatch_lines(["*ERROR at teardown of test_leaks*"])


def test_an_ignore_that_fits_nothing_is_told(suite: Suite) -> None:
    source = """
    @pytest.mark.tether_leaks(ignore=["no_such_function"])
    def test_it():
        pass
    """
    result = suite(source)
    result.stdout.fnmatch_lines(["*ignore=*no_such_function*fits nothing*"])


def test_a_teardown_that_fails_does_not_hide_what_is_left(suite: Suite) -> None:
    source = """
    @pytest.fixture
    def shop():
        yield
        raise RuntimeError("the till is locked")

    def test_leaks(shop):
        KEPT.append(open(__file__))

    def test_does_not(): ...
    """
    result = suite(source, *STRICT)
    result.assert_outcomes(passed=2, errors=1)
    result.stdout.fnmatch_lines(
        ["*RuntimeError: the till is locked", "*1 thing left behind*", "*file: *"]
    )


def test_with_xdist(suite: Suite) -> None:
    source = """
    @pytest.mark.parametrize("number", range(6))
    def test_it(number):
        if number == 3:
            KEPT.append(open(__file__))
    """
    result = suite(source, *STRICT, "-p", "xdist.plugin", "-n", "2")
    result.assert_outcomes(passed=6, errors=1)


def test_a_test_is_swept_with_fresh_fixtures(suite: Suite) -> None:
    source = """
    MADE = []

    @pytest.fixture
    async def pool():
        MADE.append(1)
        queue = asyncio.Queue()
        queue.put_nowait("connection")
        return queue

    @pytest.mark.tether_sweep(limit=0.5)
    async def test_loses_it(pool):
        connection = await pool.get()
        await asyncio.sleep(0.001)
        pool.put_nowait(connection)

    @pytest.mark.tether_sweep(limit=0.5)
    async def test_keeps_it(pool):
        connection = await pool.get()
        try:
            await asyncio.sleep(0.001)
        finally:
            pool.put_nowait(connection)

    def test_they_were_fresh():
        assert len(MADE) == 14
    """
    result = suite(source, *PLUGINS["pytest-asyncio"])
    result.assert_outcomes(passed=2, failed=1)
    result.stdout.fnmatch_lines(
        [
            "*FAIL *test_loses_it: 1 finding, ended at 1 of 1 places*",
            "*the same operation on the same state does not end*",
            "*test_it.py:* in test_loses_it #1 early cancel*",
        ]
    )


PLAIN = """
import queue
from tether import background, current

@pytest.fixture
def pool():
    MADE.append(1)
    free = queue.Queue()
    free.put("connection")
    return free

MADE = []
"""


def test_a_plain_test_is_swept_as_well(suite: Suite) -> None:
    source = """
    @pytest.mark.tether_sweep(limit=0.5)
    def test_loses_it(ctx, pool):
        connection = pool.get()
        ctx.check()
        pool.put(connection)

    class TestPool:
        @pytest.mark.tether_sweep
        @pytest.mark.parametrize("times", [3])
        def test_keeps_it(self, pool, times, ctx):
            assert current() is ctx
            connection = pool.get_nowait()
            try:
                for _ in ctx.poll(range(times), every=1):
                    pass
            finally:
                pool.put(connection)

    def test_they_were_fresh():
        assert len(MADE) == 3 + 7
    """
    result = suite(PLAIN + textwrap.dedent(source))
    result.assert_outcomes(passed=2, failed=1)
    result.stdout.fnmatch_lines(
        [
            "FAIL *test_loses_it: 1 finding, ended at 1 of 1 places *in 3 runs",
            "1. the same operation on the same state does not end within 0.5 s",
            "     at * in Queue.get",
            "     at *test_it.py:* in test_loses_it",
            "   replay: at='*test_it.py:* in test_loses_it #1 early context'",
        ]
    )
    at = next(line for line in result.outlines if "replay: at=" in line)
    replayed = source.replace("limit=0.5", f"limit=0.5, {at.strip()[8:]}")
    result = suite(PLAIN + textwrap.dedent(replayed), "-k", "loses")
    result.assert_outcomes(failed=1, deselected=2)
    result.stdout.fnmatch_lines(["FAIL *ended at 1 of 1 places*in 2 runs"])


def test_a_plain_test_has_what_its_fixtures_have_set_for_it(suite: Suite) -> None:
    source = """
    from contextvars import ContextVar

    USER = ContextVar("USER")

    @pytest.fixture
    def user():
        token = USER.set("ann")
        yield
        USER.reset(token)

    @pytest.mark.tether_sweep
    def test_it(user, ctx, tmp_path):
        (tmp_path / USER.get()).mkdir(exist_ok=True)
        ctx.check()
    """
    suite(source).assert_outcomes(passed=1)


def test_what_a_plain_test_leaves_behind_when_it_ends_is_told(suite: Suite) -> None:
    source = """
    @pytest.mark.tether_sweep
    def test_it(ctx, tmp_path):
        file = open(tmp_path / "it", "w")
        KEPT.append(file)
        ctx.check()
        file.close()
    """
    result = suite(source)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["FAIL *", "1. left behind: file: *"])


def test_a_plain_test_takes_a_bubble_for_each_attempt(suite: Suite) -> None:
    source = """
    import time

    @pytest.mark.tether_sweep(limit=10_000.0)
    def test_it(bubble, ctx):
        ctx.sleep(3600.0)
        time.sleep(3600.0)
        assert time.monotonic() >= 3600.0
    """
    suite(source).assert_outcomes(passed=1)


def test_a_test_that_is_swept_may_skip(suite: Suite) -> None:
    source = """
    @pytest.mark.tether_sweep
    def test_plain(ctx):
        ctx.check()
        pytest.skip("not today")

    @pytest.mark.tether_sweep
    async def test_in_a_task():
        await asyncio.sleep(0.001)
        pytest.skip("not today")
    """
    result = suite(source, "-rs", *PLUGINS["pytest-asyncio"])
    result.assert_outcomes(skipped=2)
    result.stdout.fnmatch_lines(["SKIPPED *test_it.py:*: not today"])


def test_ctx_is_that_of_the_sweep_whatever_fixture_has_its_name(suite: Suite) -> None:
    source = """
    @pytest.fixture
    def ctx():
        pytest.fail("it is not asked for")

    @pytest.mark.tether_sweep
    def test_plain(ctx):
        assert current() is ctx
        ctx.check()

    @pytest.mark.tether_sweep
    async def test_in_a_task(ctx):
        assert current() is ctx
        await ctx.sleep_async(0.001)
    """
    result = suite(PLAIN + textwrap.dedent(source), *PLUGINS["pytest-asyncio"])
    result.assert_outcomes(passed=2)


def test_a_sweep_that_cannot_be_is_an_error_of_its_test_alone(suite: Suite) -> None:
    source = """
    @pytest.fixture(scope="module")
    def server():
        yield
        print("the server has ended")

    @pytest.mark.tether_sweep
    def test_takes_none(server):
        pass

    @pytest.mark.tether_sweep(at="somewhere")
    def test_is_ended_nowhere(ctx):
        pass

    @pytest.mark.tether_sweep
    def test_never_looks(ctx):
        pass

    def test_it(server):
        pass

    @pytest.mark.tether_sweep
    def test_takes_none_either(server):
        pass
    """
    result = suite(source, "-s")
    result.assert_outcomes(passed=1, failed=1, errors=3)
    result.stdout.fnmatch_lines(
        [
            "*the server has ended*",
            "*ERROR at setup of test_takes_none *",
            "* and test_takes_none takes none: give it an argument ctx, *",
            "'somewhere' is no place of a sweep; *",
            "UNRESOLVED *test_never_looks: *",
            "it never waits (if it is a plain function: never looks at its ctx), *",
        ]
    )


def test_a_swept_test_that_is_expected_to_fail_may(suite: Suite) -> None:
    source = """
    @pytest.mark.tether_sweep
    @pytest.mark.xfail(reason="swallows it")
    async def test_known():
        try:
            await asyncio.sleep(0.001)
        except asyncio.CancelledError:
            pass

    @pytest.mark.tether_sweep
    @pytest.mark.xfail(strict=True)
    async def test_known_well():
        try:
            await asyncio.sleep(0.001)
        except asyncio.CancelledError:
            pass

    @pytest.mark.tether_sweep
    @pytest.mark.xfail(strict=True)
    async def test_fails_by_itself():
        await asyncio.sleep(0.001)
        assert False

    @pytest.mark.tether_sweep
    @pytest.mark.xfail
    async def test_is_right():
        await asyncio.sleep(0.001)

    @pytest.mark.tether_sweep
    @pytest.mark.xfail(strict=True)
    async def test_is_right_after_all():
        await asyncio.sleep(0.001)

    @pytest.mark.tether_sweep
    @pytest.mark.xfail(run=False)
    async def test_must_not_run(ctx):
        KEPT.append("run")

    def test_it_did_not():
        assert not KEPT
    """
    result = suite(source, *PLUGINS["pytest-asyncio"])
    result.assert_outcomes(passed=1, failed=1, xfailed=4, xpassed=1)
    result.stdout.fnmatch_lines(["*[[]XPASS(strict)[]]*"])


def test_a_swept_test_that_simply_fails_shows_where(suite: Suite) -> None:
    source = """
    def price(name):
        return {"apple": 1}[name]

    @pytest.mark.tether_sweep
    def test_fails(ctx):
        for _ in ctx.poll("ab"):
            price("pear")

    @pytest.mark.tether_sweep
    async def test_fails_as_well():
        await asyncio.sleep(0.001)
        price("plum")

    @pytest.mark.tether_sweep
    async def test_skips_itself():
        await asyncio.sleep(0.001)
        pytest.skip("no server")
    """
    result = suite(source, *PLUGINS["pytest-asyncio"])
    result.assert_outcomes(failed=2, skipped=1)
    for name in ("pear", "plum"):
        result.stdout.fnmatch_lines(
            [
                f'>*price("{name}")',
                '>*return {"apple": 1}[[]name[]]',
                f"E*KeyError: '{name}'",
            ]
        )
    result.stdout.no_fnmatch_line("*_attempt.py*")


def test_words_that_the_sweep_does_not_know_are_refused_at_once(suite: Suite) -> None:
    source = """
    def test_first(): pass

    @pytest.mark.tether_sweep(2)
    def test_it(ctx): pass
    """
    result = suite(source)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*tether_sweep takes at=, twice= and limit=, not 2*"])
    result.stdout.no_fnmatch_line("*1 passed*")


def test_what_cannot_be_swept_is_said_with_the_cure(suite: Suite) -> None:
    source = """
    class TestOfOld(unittest.IsolatedAsyncioTestCase):
        @pytest.mark.tether_sweep
        async def test_it(self):
            await asyncio.sleep(0.001)

    @pytest.mark.anyio
    @pytest.mark.parametrize("anyio_backend", ["trio"])
    @pytest.mark.tether_sweep
    async def test_on_trio(anyio_backend):
        pass

    @pytest.mark.tether_sweep(limit=0)
    async def test_no_time():
        await asyncio.sleep(0.001)
    """
    result = suite(source, "-p", "anyio.pytest_plugin")
    result.assert_outcomes(failed=1, errors=2)
    result.stdout.fnmatch_lines(
        [
            "*test_it belongs to a unittest.TestCase, * make it a function*",
            "limit is more than 0 seconds, not 0*",
            "*test_on_trio* runs elsewhere, in trio maybe: give it the asyncio *",
        ]
    )


SHARED = (
    *("-p", "pytest_asyncio.plugin", "-o", "asyncio_mode=auto"),
    *("-o", "asyncio_default_fixture_loop_scope=function"),
    *("-o", "asyncio_default_test_loop_scope=module"),
)


def test_on_a_loop_that_tests_share_each_is_told_of_its_own(suite: Suite) -> None:
    source = """
    async def numbers():
        yield 1
        yield 2

    async def test_timer():
        KEPT.append(asyncio.get_running_loop().call_later(3600, print))

    async def test_generator():
        KEPT.append(numbers())
        await anext(KEPT[-1])

    async def test_is_clean():
        assert await asyncio.to_thread(int) == 0

    async def test_is_clean_as_well():
        assert await asyncio.to_thread(int) == 0
    """
    result = suite(source, *STRICT, *SHARED)
    result.assert_outcomes(passed=4, errors=2)
    result.stdout.fnmatch_lines(
        [
            "*teardown of test_timer*",
            "1 thing left behind:",
            "timer: print()",
            "*teardown of test_generator*",
            "1 thing left behind:",
            "asynchronous generator: numbers()",
        ]
    )


def test_what_ends_on_a_loop_that_stands_between_tests_is_no_leak(suite: Suite) -> None:
    source = """
    import pytest_asyncio

    WIDER = {"scope": "module", "loop_scope": "module"}

    async def echo(reader, writer):
        while data := await reader.read(100):
            writer.write(data)
        asyncio.get_running_loop().call_later(0.02, writer.close)

    @pytest_asyncio.fixture(**WIDER)
    async def port():
        async with await asyncio.start_server(echo, "127.0.0.1", 0) as server:
            yield server.sockets[0].getsockname()[1]

    @pytest_asyncio.fixture(**WIDER)
    async def connection(port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        yield reader, writer
        writer.close()
        await writer.wait_closed()

    async def test_the_fixtures(connection):
        connection[1].write(b"x")
        assert await connection[0].read(1) == b"x"

    async def test_a_connection_of_its_own(port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"x")
        assert await reader.read(1) == b"x"
        writer.close()
        await writer.wait_closed()

    async def test_after_which_the_fixtures_end(connection):
        pass
    """
    suite(source, *STRICT, *SHARED).assert_outcomes(passed=3)


def test_idle_workers_of_anyio_belong_to_their_loop(suite: Suite) -> None:
    source = """
    from anyio import from_thread, to_thread

    EVENT = threading.Event()

    @pytest.fixture(scope="module")
    def portal():
        with from_thread.start_blocking_portal() as portal:
            yield portal
            EVENT.set()

    def test_is_clean(portal):
        assert portal.call(to_thread.run_sync, int) == 0

    def test_leaves_one_at_work(portal):
        portal.start_task_soon(to_thread.run_sync, EVENT.wait)
        portal.call(asyncio.sleep, 0.01)

    def test_after_which_the_fixture_ends(portal):
        pass
    """
    result = suite(source, *STRICT)
    result.assert_outcomes(passed=3, errors=1)
    result.stdout.fnmatch_lines(
        ["*teardown of test_leaves_one_at_work*", "*task: *BlockingPortal._call_func*"]
    )


def test_the_helpers_of_multiprocessing_are_no_test_s(suite: Suite) -> None:
    source = """
    import multiprocessing

    @pytest.mark.parametrize("way", ["spawn", "forkserver"])
    def test_it(way):
        process = multiprocessing.get_context(way).Process(target=print)
        process.start()
        process.join()
        process.close()
    """
    suite(source, *STRICT).assert_outcomes(passed=2)


def test_captured_output_is_no_file_of_a_test(suite: Suite) -> None:
    source = """
    @pytest.fixture(scope="module")
    def wide():
        with open(__file__) as file:
            yield file

    def test_one(wide):
        print(wide.read())
        assert False

    def test_two(wide, capfd):
        print(wide.read())
    """
    suite(source, *STRICT).assert_outcomes(passed=1, failed=1)


def test_a_file_a_socket_and_a_process_are_told_with_where_they_were_made(
    suite: Suite,
) -> None:
    source = """
    import socket, subprocess, sys

    def opens():
        KEPT.append(open(__file__))
        open(sys.executable, "rb").close()

    def connects():
        KEPT.append(socket.socket())
        socket.socket().close()

    def starts():
        KEPT.append(subprocess.Popen([sys.executable, "-c", "input()"], stdin=-1))
        subprocess.run([sys.executable, "-c", ""], check=True)

    @pytest.mark.parametrize("leak", [opens, connects, starts])
    def test_it(leak):
        leak()
    """
    result = suite(source, *STRICT)
    result.assert_outcomes(passed=3, errors=3)
    for name in ["opens", "connects", "starts"]:
        result.stdout.fnmatch_lines([f"  made at *test_it.py:* in {name}"])


def test_a_fixture_may_ask_for_a_wider_one(suite: Suite) -> None:
    source = """
    @pytest.fixture(scope="session")
    def server():
        with open(__file__) as file:
            yield file

    @pytest.fixture(scope="class")
    def client(request):
        return request.getfixturevalue("server")

    class TestOne:
        def test_it(self, client):
            assert client

    class TestTwo:
        def test_it(self, client):
            assert client
    """
    suite(source, *STRICT).assert_outcomes(passed=2)


def test_what_is_ignored_may_be_named_by_its_maker(suite: Suite) -> None:
    source = """
    def starts():
        KEPT.append(threading.Event())
        threading.Thread(target=KEPT[-1].wait, daemon=True).start()

    @pytest.mark.tether_leaks(ignore=["starts"])
    def test_it():
        starts()
    """
    suite(source).assert_outcomes(passed=1)


def test_a_word_that_the_marker_does_not_know_is_refused(suite: Suite) -> None:
    source = """
    @pytest.mark.tether_leaks(ignores=["poll*"])
    def test_it():
        pass
    """
    suite(source).stderr.fnmatch_lines(["*takes ignore= and off=, not ignores"])


def test_a_suite_that_does_not_ask_loads_nothing_of_it(suite: Suite) -> None:
    source = """
    import sys

    def test_it():
        loaded = [name for name in sys.modules if name.startswith("tether.testing.")]
        assert loaded == ["tether.testing.plugin"]
    """
    suite(source).assert_outcomes(passed=1)


def test_a_signal_that_is_ignored_from_now_on_is_told(suite: Suite) -> None:
    source = """
    import signal

    def test_it():
        signal.signal(signal.SIGTERM, signal.SIG_IGN)

    def test_puts_it_back():
        before = signal.signal(signal.SIGUSR1, print)
        signal.signal(signal.SIGUSR1, before)
    """
    result = suite(source, *STRICT)
    result.assert_outcomes(passed=2, errors=1)
    result.stdout.fnmatch_lines(["signal handler: SIGTERM is now SIG_IGN"])


def test_warnings_that_a_test_catches_stay_its_own(suite: Suite) -> None:
    source = """
    import warnings

    @pytest.fixture
    def strict():
        warnings.simplefilter("error")

    def test_is_told(recwarn):
        warnings.warn("news")
        assert len(recwarn) == 1

    def test_is_stopped(strict):
        with pytest.raises(UserWarning):
            warnings.warn("news")
    """
    suite(source, *STRICT).assert_outcomes(passed=2)


def test_a_test_without_checks_among_others_runs_as_if_there_were_none(
    suite: Suite,
) -> None:
    source = """
    def is_watched():
        return asyncio.BaseEventLoop.create_task.__qualname__ != "BaseEventLoop.create_task"

    def watches():
        return asyncio.runners._cancel_all_tasks.__qualname__ != "_cancel_all_tasks"

    def test_first():
        assert watches()

    @pytest.mark.tether_leaks(off=True)
    def test_off():
        assert not watches()
        KEPT.append(open(__file__))

    def test_last():
        assert watches()
    """
    suite(source, *STRICT).assert_outcomes(passed=3)


def test_what_is_new_under_an_old_number_is_told(suite: Suite) -> None:
    source = """
    import socket

    @pytest.mark.tether_leaks(off=True)
    def test_before():
        KEPT.append(socket.socket())

    def test_leaks():
        number = KEPT[-1].fileno()
        KEPT.pop().close()
        KEPT.append(socket.socket())
        assert KEPT[-1].fileno() == number
    """
    suite(source, *STRICT).assert_outcomes(passed=2, errors=1)


def test_garbage_of_another_test_is_no_leak_of_this_one(suite: Suite) -> None:
    source = """
    import gc, socket

    gc.disable()

    class Cycle:
        def __init__(self):
            self.socket, self.me = socket.socket(), self

    @pytest.mark.tether_leaks(off=True)
    def test_drops_one():
        Cycle()

    def test_collects_it():
        gc.collect()

    def test_drops_and_collects_one():
        Cycle()
        gc.collect()
    """
    result = suite(source, *STRICT)
    result.assert_outcomes(passed=3, errors=1)
    result.stdout.fnmatch_lines(
        ["*teardown of test_drops_and_collects_one*", "dropped without being closed*"]
    )
