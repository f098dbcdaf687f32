"""What is alive, and how it ended: looked up for each scrape."""

from __future__ import annotations

from collections import Counter as Tally
from collections.abc import Iterator
from threading import Lock
from typing import final

from tether import Scope, _live, _tasks, abandoned
from tether._crew import Crew
from tether._overdue import is_open, over_since

from ._ends import Ends
from ._hops import Hops
from ._library import Collector, CounterMetricFamily, GaugeMetricFamily, Metric
from ._names import Names, label


@final
class Alive(Collector):
    """The contexts, the tasks and the threads of this process."""

    def __init__(self, roots: Names, ends: Ends, hops: Hops) -> None:
        self.live: _live.Live[None] = _live.Live(lambda: None)
        self._roots = roots
        self._ends = ends
        self._hops = hops
        self._lock = Lock()  # who scrapes while another does would make it no faster

    def describe(self) -> Iterator[Metric]:
        """The names alone: nothing is looked up to be registered."""
        yield from _families().values()

    def collect(self) -> Iterator[Metric]:
        """The values."""
        with self._lock:
            yield from self._collect()

    def _collect(self) -> list[Metric]:
        root = self._roots.of
        work: Tally[str] = Tally()
        for crew in self.live.alive(Crew):
            if crew._left:
                work[root(label(crew.ctx))] += crew._left
        tasks = Tally(
            root(label(_tasks.context_of(task)))
            for task in _tasks.all_tasks(_tasks.running())
        )
        there: Tally[str] = Tally()
        late: Tally[str] = Tally()
        over: list[Scope] = []
        with self._ends.looking():
            scopes = self.live.alive(Scope)
            for scope in scopes:
                name = root(label(scope))
                there[name] += 1
                if over_since(scope) is not None:
                    over.append(scope)
                    if is_open(scope):
                        late[name] += 1
            done = self._ends.all(over)
        families = _families()
        for name in sorted({*self._roots.all(), *there, *work, *tasks}):
            families["live"].add_metric([name], there[name])
            families["overdue"].add_metric([name], late[name])
            families["work"].add_metric([name], work[name])
            families["tasks"].add_metric([name], tasks[name])
        for key, count in sorted(done.items()):
            families["done"].add_metric(key, count)
        families["threads"].add_metric([], len(abandoned()))
        for hop, seconds in self._hops.usual():
            families["usual"].add_metric([hop], seconds)
        return [*families.values()]


def _families() -> dict[str, GaugeMetricFamily | CounterMetricFamily]:
    root = ["root"]
    return {
        "live": GaugeMetricFamily(
            "tether_contexts_live", "Scopes that are alive", labels=root
        ),
        "overdue": GaugeMetricFamily(
            "tether_contexts_overdue",
            "Blocks whose scope is over and that still run",
            labels=root,
        ),
        "done": CounterMetricFamily(
            "tether_contexts_done",
            "Scopes that are over, by what has ended them",
            labels=["root", "cause"],
        ),
        "work": GaugeMetricFamily(
            "tether_tasks", "What groups have to do, running or queued", labels=root
        ),
        "tasks": GaugeMetricFamily(
            "tether_asyncio_tasks", "Tasks of event loops", labels=root
        ),
        "threads": GaugeMetricFamily(
            "tether_threads_abandoned", "Threads that to_thread has left behind"
        ),
        "usual": GaugeMetricFamily(
            "tether_call_usual_seconds",
            "Median time of the latest calls until their answer begins",
            labels=["hop"],
        ),
    }
