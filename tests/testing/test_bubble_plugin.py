"""The fixture `bubble`, under the runners that people use."""

from __future__ import annotations

import textwrap

import pytest

pytest_plugins = ["pytester"]

ASYNCIO = ["-p", "pytest_asyncio.plugin"]
ASYNCIO += ["-o", "asyncio_default_fixture_loop_scope=function"]
AUTO = [*ASYNCIO, "-o", "asyncio_mode=auto"]
ANYIO = ["-p", "anyio.pytest_plugin"]
XDIST = ["-p", "xdist", "-n", "2"]
HEAD = """
import asyncio, threading, time
from time import sleep
import pytest
"""
ASYNC_TEST = """
async def test_a_task(bubble):
    await asyncio.sleep(3600.0)
    await asyncio.to_thread(sleep, 3600.0)
    assert time.monotonic() == asyncio.get_running_loop().time() == 7200.0
"""
ASYNC_FIXTURE = """
@pytest.fixture
async def connected():
    await asyncio.sleep(5.0)
    yield time.monotonic()
    await asyncio.sleep(5.0)
    assert time.monotonic() == 15.0

async def test_it(connected, bubble):
    assert connected == 5.0
    await asyncio.sleep(5.0)
"""


class Suite:
    """Runs a suite of its own in another process."""

    def __init__(self, pytester: pytest.Pytester) -> None:
        self._pytester = pytester

    def __call__(self, source: str, *options: str) -> pytest.RunResult:
        self._pytester.makepyfile(test_it=HEAD + textwrap.dedent(source))
        return self._pytester.runpytest_subprocess(
            *("-p", "tether.testing.plugin", "-p", "timeout", "--timeout=60", "-q"),
            "--timeout-method=thread",
            *("-p", "no:cacheprovider", "--strict-markers", "-W", "error", *options),
        )


@pytest.fixture
def suite(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Suite:
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    return Suite(pytester)


def test_an_async_test_needs_no_other_plugin(suite: Suite) -> None:
    suite(ASYNC_TEST).assert_outcomes(passed=1)


def test_an_async_test_bears_with_plugins_that_are_not_asked(suite: Suite) -> None:
    suite(ASYNC_TEST, *ASYNCIO, *ANYIO).assert_outcomes(passed=1)


@pytest.mark.parametrize(
    ("mark", "plugin"),
    [("", AUTO), ("pytestmark = pytest.mark.asyncio", ASYNCIO)],
    ids=["auto", "strict"],
)
def test_pytest_asyncio_runs_tests_and_async_fixtures_inside(
    suite: Suite, mark: str, plugin: list[str]
) -> None:
    source = ASYNC_FIXTURE
    if mark:
        source = source.replace("@pytest.fixture", "@pytest_asyncio.fixture")
        source = f"import pytest_asyncio\n{mark}\n{source}"
    suite(source + ASYNC_TEST, *plugin).assert_outcomes(passed=2)


def test_anyio_runs_tests_and_async_fixtures_inside_and_not_on_trio(
    suite: Suite,
) -> None:
    source = f"pytestmark = pytest.mark.anyio\n{ASYNC_FIXTURE}"
    result = suite(source, *ANYIO)
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(["*RuntimeError: trio.*does not run inside*no trio*"])


def test_a_loop_of_a_wider_scope_is_refused_and_one_made_inside_is_reported(
    suite: Suite,
) -> None:
    source = """
    @pytest.mark.asyncio(loop_scope="class")
    class TestOfOneLoop:
        async def test_before(self):
            pass

        async def test_it(self, bubble):
            await asyncio.sleep(3600.0)

    @pytest.mark.asyncio(loop_scope="module")
    async def test_makes_it(bubble):
        await asyncio.sleep(3600.0)

    @pytest.mark.asyncio(loop_scope="module")
    async def test_next(bubble):
        await asyncio.sleep(3600.0)
    """
    result = suite(source, *ASYNCIO)
    result.assert_outcomes(passed=2, failed=2, errors=1)
    result.stdout.fnmatch_lines(["*an event loop that is not closed*loop_scope=*"])
    result.stdout.fnmatch_lines(["*does not run inside this bubble*loop_scope=*"])


def test_uvloop_of_pytest_asyncio_is_refused(suite: Suite) -> None:
    source = """
    import uvloop

    @pytest.mark.asyncio
    async def test_it(bubble):
        await asyncio.sleep(3600.0)
    """
    hook = """
    import uvloop

    def pytest_asyncio_loop_factories(config, item):
        return {"uvloop": uvloop.new_event_loop}
    """
    suite._pytester.makeconftest(textwrap.dedent(hook))
    result = suite(source, *ASYNCIO)
    result.stdout.fnmatch_lines(["*uvloop*does not run inside this bubble*no uvloop*"])
    result.assert_outcomes(errors=1)


def test_it_is_around_the_other_fixtures_of_the_test_and_not_around_wider_ones(
    suite: Suite,
) -> None:
    source = """
    @pytest.fixture(scope="module", autouse=True)
    def wider():
        assert time.time() > 1_700_000_000.0
        yield
        assert time.time() > 1_700_000_000.0

    @pytest.fixture
    def mine():
        assert time.time() == 946_684_800.0
        yield
        assert time.time() == 946_684_805.0

    def test_it(wider, mine, bubble):
        sleep(5.0)

    class TestAll:
        pytestmark = pytest.mark.usefixtures("bubble")

        def test_it(self, mine):
            sleep(5.0)
    """
    suite(source).assert_outcomes(passed=2)


def test_the_marker_has_its_options_and_its_words_are_checked(suite: Suite) -> None:
    source = """
    @pytest.mark.tether_bubble(patience=0.05)
    async def test_spins(bubble):
        while True:
            await asyncio.sleep(0)
    """
    result = suite(source)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*Spinning: at * without waiting*"])
    for wrong in ("patient=1.0", "1.0"):
        source = f"""
        @pytest.mark.tether_bubble({wrong})
        def test_it(bubble):
            pass
        """
        suite(source).stderr.fnmatch_lines(
            ["*tether_bubble takes grace= and patience=, not *"]
        )


def test_real_time_is_back_whatever_has_happened(suite: Suite) -> None:
    source = """
    KEPT = []

    def test_fails(bubble):
        assert not time.monotonic()
        assert False

    def test_is_skipped(bubble):
        pytest.skip("because")

    def test_leaves_a_thread(bubble):
        KEPT.append(threading.Event())
        threading.Thread(target=KEPT[0].wait, name="forgotten").start()

    def test_time_is_real():
        KEPT[0].set()
        assert time.monotonic.__module__ == "time"
        assert time.time() > 1_700_000_000.0
        assert threading.Event().wait(0.001) is False
        assert type(asyncio.new_event_loop) is type(test_fails)
        asyncio.run(asyncio.sleep(0.001))
    """
    result = suite(source)
    result.assert_outcomes(passed=2, failed=1, skipped=1, errors=1)
    result.stdout.fnmatch_lines(["*Unfinished: *", "*thread forgotten*"])


def test_ctrl_c_ends_the_run(suite: Suite) -> None:
    source = """
    import signal

    def test_it(bubble):
        threading.Timer(60.0, signal.raise_signal, [signal.SIGINT]).start()
        threading.Event().wait(3600.0)
    """
    result = suite(source)
    result.stdout.fnmatch_lines(["*KeyboardInterrupt*"])
    assert result.ret == pytest.ExitCode.INTERRUPTED


def test_each_worker_of_xdist_has_its_own(suite: Suite) -> None:
    source = """
    @pytest.mark.parametrize("number", range(20))
    async def test_it(bubble, number):
        await asyncio.gather(*(asyncio.to_thread(sleep, 60.0 * n) for n in range(4)))
        assert time.monotonic() == 180.0

    @pytest.mark.parametrize("number", range(20))
    def test_real(number):
        assert time.time() > 1_700_000_000.0
    """
    suite(source, *XDIST).assert_outcomes(passed=40)


def test_it_goes_with_strict_leak_checks(suite: Suite) -> None:
    source = """
    KEPT = []

    async def test_clean(bubble):
        await asyncio.to_thread(sleep, 60.0)

    def test_leaks(bubble):
        KEPT.append(open(__file__))
    """
    result = suite(source, "-o", "tether_leaks=strict")
    result.assert_outcomes(passed=2, errors=1)
    result.stdout.fnmatch_lines(["*file: *test_it.py*"])


def test_a_sweep_takes_a_bubble_for_each_attempt(suite: Suite) -> None:
    source = """
    @pytest.mark.tether_sweep(limit=10_000.0)
    async def test_it(bubble):
        await asyncio.sleep(3600.0)
        await asyncio.to_thread(sleep, 3600.0)
    """
    suite(source).assert_outcomes(passed=1)
