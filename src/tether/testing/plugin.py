"""The plugin for pytest: leak checks, sweeps, the fixtures tether_proxy and bubble.

The leak checks are quiet until the ini option or a marker asks:

    [tool.pytest.ini_options]
    tether_leaks = "strict"      # every test; "off" is the default

    @pytest.mark.tether_leaks                       # this test, class or module
    @pytest.mark.tether_leaks(ignore=["poll*"])     # these may stay
    @pytest.mark.tether_leaks(off=True)             # not this one

A test is checked when its fixtures have been torn down. What a fixture of a wider scope
has made is not the test's; it is checked when that fixture has been torn down.
"""

from __future__ import annotations

import inspect
from collections.abc import Generator, Hashable, Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from ._proxy import Proxies
    from .bubbling import Bubble
    from .leaks import Leak, Watch

MARKER = "tether_leaks"
SWEEP = "tether_sweep"
BUBBLE = "tether_bubble"
WORDS = {
    MARKER: ["ignore", "off"],
    SWEEP: ["at", "twice", "limit"],
    BUBBLE: ["grace", "patience"],
}


def pytest_addoption(parser: pytest.Parser) -> None:
    """The ini option."""
    parser.addini(MARKER, "leak checks for every test: strict or off", default="off")


def pytest_configure(config: pytest.Config) -> None:
    """The marker, and the checks if anybody may want them."""
    config.addinivalue_line(
        "markers",
        f"{MARKER}(ignore=[...], off=False): fail the test if it leaves something "
        "behind: a task, a thread, a file, a context ...",
    )
    config.addinivalue_line(
        "markers",
        f"{SWEEP}(at=..., twice=False, limit=seconds): end the test at every place "
        "where it waits, and see what is wrong then",
    )
    config.addinivalue_line(
        "markers",
        f"{BUBBLE}(grace=0.1, patience=10.0): the options of the fixture bubble",
    )
    strict = config.getini(MARKER)
    if strict not in {"strict", "off"}:
        raise pytest.UsageError(f"{MARKER} is strict or off, not {strict!r}")
    checks = _Checks(strict == "strict")
    config.pluginmanager.register(checks, "tether-leak-checks")


def pytest_collection_modifyitems(
    config: pytest.Config, items: list[pytest.Item]
) -> None:
    """Refuse words that the markers do not know; load the sweep if a test asks."""
    for item in items:
        _bubble_first(item)
        for mark in item.iter_markers():
            words = WORDS.get(mark.name)
            if words and (mark.args or not set(words).issuperset(mark.kwargs)):
                said = ", ".join([*map(repr, mark.args), *mark.kwargs])
                *most, last = (f"{word}=" for word in words)
                known = f"{', '.join(most)} and {last}"
                raise pytest.UsageError(
                    f"{item.nodeid}: {mark.name} takes {known}, not {said}"
                )
    plugins = config.pluginmanager
    if any(item.get_closest_marker(SWEEP) for item in items):
        from .sweeping._marked import Sweeps

        checks = plugins.get_plugin("tether-leak-checks")
        assert isinstance(checks, _Checks)
        checks.sweeps = True
        plugins.register(Sweeps(checks.observe), "tether-sweeps")


@pytest.fixture
def tether_proxy() -> Iterator[Proxies]:
    """A port that leads to a server, slowly or with failures: see `Proxy`.

    proxy = tether_proxy("127.0.0.1", 5432, latency=0.05)
    """
    from ._proxy import Proxies

    with Proxies() as proxies:
        yield proxies


@pytest.fixture
def bubble(request: pytest.FixtureRequest) -> Iterator[Bubble]:
    """The whole test is in a bubble of virtual time, see `tether.testing.bubble`.

    The marker `tether_bubble` takes its options.
    """
    from .bubbling import bubble

    mark = request.node.get_closest_marker(BUBBLE)
    with bubble(**({} if mark is None else mark.kwargs)) as one:
        yield one


def _bubble_first(item: pytest.Item) -> None:
    """Have the bubble made before all other fixtures of the test alone.

    One that makes an event loop, or starts a thread, does it inside then.
    """
    names: list[str] = getattr(item, "fixturenames", [])
    if "bubble" in names:
        found = getattr(item, "_fixtureinfo").name2fixturedefs  # noqa: B009
        wider = [
            name
            for name in names
            if name in found and found[name][-1].scope != "function"
        ]
        rest = [name for name in names if name not in wider and name != "bubble"]
        names[:] = [*wider, "bubble", *rest]


def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """An `async def` that no other plugin runs is run by its bubble."""
    one = pyfuncitem.funcargs.get("bubble")
    if one is None or not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    from .bubbling import Bubble

    if not isinstance(one, Bubble):
        return None
    names = pyfuncitem._fixtureinfo.argnames
    one._run(pyfuncitem.obj(**{name: pyfuncitem.funcargs[name] for name in names}))
    return True


class _Checks:
    """Watches each test that asks for it."""

    def __init__(self, strict: bool) -> None:
        self._strict = strict
        self.sweeps = False  # whether there are tests that are swept
        self._keeping = False  # what a watch installs, from one test to the next
        self._watch: Watch | None = None
        self._judging = True
        # What fixtures of wider scopes have made: by fixture, until it is torn down.
        self._wider: dict[Any, tuple[str, set[Hashable]]] = {}
        self._finished: list[tuple[str, set[Hashable]]] = []

    def observe(self, watch: Watch | None) -> None:
        """Have this watch own what the test makes; it is judged elsewhere."""
        self._watch, self._judging = watch, watch is None

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_protocol(
        self, item: pytest.Item
    ) -> Generator[None, object, object]:
        mark = item.get_closest_marker(MARKER)
        if mark is not None and mark.kwargs.get("off"):
            self.pytest_unconfigure()  # such a test runs as if there were no checks
            return (yield)
        if not (self._strict or mark is not None):
            return (yield)
        if self.sweeps and item.get_closest_marker(SWEEP):
            return (yield)
        from .leaks import Watch, _watch

        if self._strict and not self._keeping:
            self._keeping = True
            _watch.installed.keep()
        watch = Watch(ignore=() if mark is None else mark.kwargs.get("ignore", ()))
        for _, keys in self._wider.values():
            watch.excuse_also(keys)
        self._watch = watch
        watch.begin()
        try:
            return (yield)
        finally:
            self._watch = None
            watch.end()

    def pytest_unconfigure(self) -> None:
        """Nothing stays installed."""
        if self._keeping:
            from .leaks import _watch

            self._keeping = False
            _watch.installed.release()

    # Inside of what catches warnings for the test, and around what does so in the test:
    # a fixture's filters, or `recwarn`, are there from its setup to its teardown.
    @pytest.hookimpl(wrapper=True, trylast=True, specname="pytest_runtest_protocol")
    def pytest_runtest_protocol_inside(self) -> Generator[None, object, object]:
        if self._watch is None:
            return (yield)
        with self._watch.hearing():
            return (yield)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_call(self, item: pytest.Item) -> None:
        function: Any = getattr(item, "obj", None)
        if self._watch is not None and inspect.iscoroutinefunction(function):
            item.obj = self._watch.owning(function)  # type: ignore[attr-defined]

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_teardown(self, item: pytest.Item) -> Generator[None, None, None]:
        watch = self._watch
        if watch is None:
            return (yield)
        from .leaks import LeakError, _watch

        try:
            yield
        except Exception as exc:
            if leaks := self._left(watch):
                exc.add_note(str(LeakError(leaks)))
            raise
        if leaks := self._left(watch):
            pytest.fail(str(LeakError(leaks)), pytrace=False)
        if self._judging and (unused := watch.unused()):
            item.warn(pytest.PytestWarning(f"{MARKER}: {_watch.unused(unused)}"))
        return None

    def _left(self, watch: Watch) -> list[Leak]:
        """What the test has left, and what wider fixtures that are over have."""
        if not self._judging:
            return []
        leaks = watch.left()
        for name, keys in self._finished:
            leaks += watch.still_there(keys, name)
        self._finished.clear()
        return leaks

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(
        self, fixturedef: pytest.FixtureDef[Any]
    ) -> Generator[None, object, object]:
        watch = self._watch
        if watch is None or fixturedef.scope == "function":
            return (yield)
        before = watch.keys()
        try:
            return (yield)
        finally:
            # Not what a fixture has made that it has asked for meanwhile.
            others = [keys for _, keys in self._wider.values()]
            made = (watch.keys() - before).difference(*others)
            watch.excuse_also(made)
            name = f"{fixturedef.scope} fixture {fixturedef.argname}"
            self._wider[fixturedef] = name, made

    def pytest_fixture_post_finalizer(self, fixturedef: pytest.FixtureDef[Any]) -> None:
        known = self._wider.pop(fixturedef, None)
        if known is not None:
            self._finished.append(known)
