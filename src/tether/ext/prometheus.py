"""prometheus-client: what contexts are alive, what calls have left, how fast they end.

    undo = instrument()          # into the default registry; undo() switches it off

    tether_contexts_live{root}            scopes that nobody has let go of
    tether_contexts_overdue{root}         those of them that are over, and still there
    tether_tasks{root}                    what groups have to do, running or queued
    tether_threads_abandoned              what `to_thread` has left behind
    tether_call_budget_seconds            what a call to another service begins with
    tether_calls_without_deadline_total   those that nothing bounds
    tether_release_seconds{resource}      how long interrupted calls went on

Each scope costs a weak reference while it is on, and nothing when it is off. The rest
is worked out when somebody scrapes. `root` is the label of the work, a template as it
comes from the router. Only the first `roots` labels get a series of their own; the
others share "other", so that a label which is made of an id by mistake does not fill
the server's memory.

In the multi-process mode of prometheus-client (PROMETHEUS_MULTIPROC_DIR) those about
calls are added up over the processes. Those of what is alive are seen only in the
process that is scraped: the library has no collectors of one's own there.
"""

from __future__ import annotations

from collections import Counter as Tally
from collections.abc import Callable, Iterator
from functools import partial
from threading import Lock

from tether import Context, Scope, _live, _watching, abandoned
from tether._calls import shut
from tether._clock import INF
from tether._crew import Crew
from tether._sqlite import Guard
from tether._stopping import stopping

try:
    from prometheus_client import REGISTRY, CollectorRegistry, Counter, Histogram
    from prometheus_client.metrics_core import GaugeMetricFamily, Metric
    from prometheus_client.registry import Collector
except ModuleNotFoundError:
    raise ModuleNotFoundError(
        "tether.ext.prometheus needs prometheus-client: "
        'pip install "tether[prometheus]"',
        name="prometheus_client",
    ) from None

__all__ = ["instrument"]

_BUCKETS = (0.0, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_OTHER = "other"
_switch = Lock()
_on = False


def instrument(
    registry: CollectorRegistry = REGISTRY, *, roots: int = 100
) -> Callable[[], None]:
    """Count from now on, for `registry`; returns what switches it off again.

    At most `roots` labels get a series. Scopes that are older are counted as well.
    Raises RuntimeError if it is on already: nothing is counted twice.

        >>> from prometheus_client import CollectorRegistry
        >>> from tether import background
        >>> registry = CollectorRegistry()
        >>> undo = instrument(registry)
        >>> with background().with_timeout(2.0, label="GET /basket"):
        ...     registry.get_sample_value(
        ...         "tether_contexts_live", {"root": "GET /basket"}
        ...     )
        1
        >>> undo()
    """
    global _on
    if roots < 1:
        raise ValueError(f"roots is {roots}: at least one label must have a series")
    with _switch:
        if _on:
            raise RuntimeError(
                "tether.ext.prometheus is on already: call what instrument() returned"
            )
        budget = Histogram(
            "tether_call_budget_seconds",
            "What a call to another service has left as it begins",
            buckets=_BUCKETS,
            registry=None,
        )
        unbounded = Counter(
            "tether_calls_without_deadline",
            "Calls to other services that nothing bounds",
            registry=None,
        )
        release = Histogram(
            "tether_release_seconds",
            "From the end of a context to the end of a call that it interrupted",
            ["resource"],
            buckets=_BUCKETS[1:],
            registry=None,
        )
        alive = _Alive(roots)
        collectors: tuple[Collector, ...] = (budget, unbounded, release, alive)
        registered: list[Collector] = []
        try:
            for one in collectors:
                registry.register(one)
                registered.append(one)
        except BaseException:
            for one in registered:
                registry.unregister(one)
            raise

        def calling(left: float) -> None:
            if left == INF:
                unbounded.inc()
            else:
                budget.observe(left)

        def released(fn: Callable[[], object], seconds: float) -> None:
            release.labels(_resource(fn)).observe(seconds)

        alive.live.__enter__()
        alive.live.adopt(Scope)
        alive.live.adopt(Crew)
        _watching.calling = calling
        _watching.released = released
        _on = True

    def undo() -> None:
        global _on
        with _switch:
            if not registered:
                return
            _watching.calling = _watching.released = None
            alive.live.__exit__(None, None, None)
            while registered:
                registry.unregister(registered.pop())
            _on = False

    return undo


def _resource(fn: Callable[[], object]) -> str:
    """What is interrupted by `fn`: few names, whatever users give."""
    if isinstance(fn, partial):
        return "socket" if fn.func is shut else _OTHER
    owner = getattr(fn, "__self__", None)
    if isinstance(owner, stopping):
        return type(owner._peer).__name__.lower()
    return "sqlite" if isinstance(owner, Guard) else _OTHER


def _label(ctx: Context) -> str:
    try:
        return ctx.label
    except Exception:
        return ""  # a context of the user's own above it fails; it is there anyway


def _over(ctx: Context) -> bool:
    try:
        return ctx.done()
    except Exception:
        return False


class _Alive(Collector):
    """What is alive now, looked up for each scrape."""

    def __init__(self, roots: int) -> None:
        self.live: _live.Live[None] = _live.Live(lambda: None)
        self._most = roots
        self._lock = Lock()
        self._roots: set[str] = set()  # that have a series, for good

    def describe(self) -> Iterator[Metric]:
        """The names alone: nothing is looked up to be registered."""
        yield from self._families()

    def collect(self) -> Iterator[Metric]:
        """The values."""
        there: Tally[str] = Tally()
        overdue: Tally[str] = Tally()
        tasks: Tally[str] = Tally()
        with self._lock:
            for crew, _ in self.live.all(Crew):
                if crew._left:
                    tasks[self._root(_label(crew.ctx))] += crew._left
            for scope, _ in self.live.all(Scope):
                root = self._root(_label(scope))
                there[root] += 1
                overdue[root] += _over(scope)
            known = sorted({*self._roots, *there, *tasks})
        live, late, busy, threads = self._families()
        for root in known:
            live.add_metric([root], there[root])
            late.add_metric([root], overdue[root])
            busy.add_metric([root], tasks[root])
        threads.add_metric([], len(abandoned()))
        yield from (live, late, busy, threads)

    def _root(self, label: str) -> str:
        root = label or "none"
        if root not in self._roots:
            if len(self._roots) >= self._most:
                return _OTHER
            self._roots.add(root)
        return root

    @staticmethod
    def _families() -> tuple[GaugeMetricFamily, ...]:
        return (
            GaugeMetricFamily(
                "tether_contexts_live", "Scopes that are alive", labels=["root"]
            ),
            GaugeMetricFamily(
                "tether_contexts_overdue",
                "Scopes that are over and still there",
                labels=["root"],
            ),
            GaugeMetricFamily(
                "tether_tasks",
                "What groups have to do, running or queued",
                labels=["root"],
            ),
            GaugeMetricFamily(
                "tether_threads_abandoned", "Threads that to_thread has left behind"
            ),
        )
