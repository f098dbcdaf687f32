"""The switch."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from threading import Lock

from tether import Context, Scope, _watching
from tether._calls import shut
from tether._clock import INF
from tether._crew import Crew
from tether._sqlite import Guard
from tether._stopping import stopping

from ._alive import Alive
from ._ends import Ends
from ._hops import Hops
from ._library import REGISTRY, Collector, CollectorRegistry, Counter, Histogram
from ._names import OTHER, Names, label

_BUCKETS = (0.0, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_HOOKS = ("calling", "hop", "released", "dropped", "shed", "abandoned")
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
        names = Names(roots)
        budget, unbounded, cascade, shed, left_behind, release = own = _metrics()
        ends, hops = Ends(names), Hops(roots, cascade)
        alive = Alive(names, ends, hops)
        registered: list[Collector] = []
        try:
            for one in (*own, alive):
                registry.register(one)
                registered.append(one)
        except BaseException:
            while registered:
                registry.unregister(registered.pop())
            raise

        # Kept: to look a child up takes longer than to count.
        budget_of, unbounded_of = cache(budget.labels), cache(unbounded.labels)
        released_of = cache(release.labels)
        unbounded_of(_watching.SERVICE)  # a rate needs a 0 to begin with

        def calling(left: float, to: str) -> None:
            if left == INF:
                unbounded_of(to).inc()
            else:
                budget_of(to).observe(left)

        def released(what: Callable[[], object] | str, seconds: float) -> None:
            released_of(_resource(what)).observe(seconds)

        def counting(counter: Counter) -> Callable[[Context], None]:
            of = cache(counter.labels)
            return lambda ctx: of(names.of(label(ctx))).inc()

        alive.live.__enter__()
        alive.live.adopt(Scope, Crew)
        _watching.calling = calling
        _watching.hop = hops.begun
        _watching.released = released
        _watching.dropped = ends.dropped
        _watching.shed = counting(shed)
        _watching.abandoned = counting(left_behind)
        _on = True

    def undo() -> None:
        global _on
        with _switch:
            if not registered:
                return
            for hook in _HOOKS:
                setattr(_watching, hook, None)
            alive.live.__exit__(None, None, None)
            while registered:
                registry.unregister(registered.pop())
            _on = False

    return undo


def _metrics() -> tuple[Histogram, Counter, Counter, Counter, Counter, Histogram]:
    """Those that are told as things happen."""
    return (
        Histogram(
            "tether_call_budget_seconds",
            "What a call to another service or a database has left as it begins",
            ["to"],
            buckets=_BUCKETS,
            registry=None,
        ),
        Counter(
            "tether_calls_without_deadline",
            "Calls to other services and databases that nothing bounds",
            ["to"],
            registry=None,
        ),
        Counter(
            "tether_deadline_cascade",
            "Calls that begin with less time than they take as a rule",
            ["hop"],
            registry=None,
        ),
        Counter(
            "tether_work_shed",
            "Work that a full group refused",
            ["root"],
            registry=None,
        ),
        Counter(
            "tether_work_abandoned",
            "Work in threads that was left behind",
            ["root"],
            registry=None,
        ),
        Histogram(
            "tether_release_seconds",
            "From the end of a context to the end of a call that it interrupted",
            ["resource"],
            buckets=_BUCKETS[1:],
            registry=None,
        ),
    )


def _resource(fn: Callable[[], object] | str) -> str:
    """What is interrupted by `fn`: few names, whatever users give."""
    if isinstance(fn, str):
        return fn
    if isinstance(fn, partial):
        return "socket" if fn.func is shut else OTHER
    owner = getattr(fn, "__self__", None)
    if isinstance(owner, stopping):
        return type(owner._peer).__name__.lower()
    return "sqlite" if isinstance(owner, Guard) else OTHER
