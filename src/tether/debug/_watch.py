"""The looks at one process: one at a time, each compared with an earlier one."""

from __future__ import annotations

import asyncio
import os
import platform
import sys
import threading
import time
from collections import deque
from pathlib import PurePath

from .. import _loops as known
from .. import _tasks
from .._crew import Crew
from .._live import Live
from .._scope import Scope
from . import _contexts, _groups, _loops
from ._holders import Found
from ._loops import Beats
from ._model import Group, Look

WINDOW = 30.0  # seconds: growth is that since the oldest look in it
LONGEST = 120.0  # seconds: with a look before that one no growth is worked out
NOTED = 1.0  # a second: less is not called growth
APART = 0.2  # seconds, the least between two looks of which a growth is worked out


class Watch:
    """Takes looks. From any thread; who asks while one is taken waits for the next."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._began = time.monotonic()
        self._beats = Beats()
        self._before: deque[tuple[float, dict[str, int], int]] = deque()
        self._first: dict[str, float] = {}
        self._live: Live[None] = Live(_nothing)
        self._latest: tuple[float, Look] | None = None

    def open(self) -> None:
        """Note the contexts from now on, and those that are there."""
        self._live.__enter__()
        self._live.adopt(Scope, Crew)

    def close(self) -> None:
        """Note no more."""
        self._live.__exit__(None, None, None)

    def look(self) -> Look:
        """The whole process at this moment."""
        asked = time.monotonic()
        with self._lock:
            latest = self._latest
            if latest is not None and latest[0] >= asked:
                return latest[1]  # one look serves all who have waited for it
            began = time.monotonic()
            look = self._look()
            self._latest = (began, look)
            return look

    def _look(self) -> Look:
        now = time.monotonic()
        loops = _tasks.running()
        asked = self._beats.ask(loops)
        found = Found()
        every = _tasks.all_tasks(loops)
        tasks, members = _groups.of_tasks(every, found)
        threads = _groups.of_threads(found)
        resources = found.resources((one.tasks, one.waits) for one in members)
        contexts, overdue, open_, over = _contexts.look(self._live)
        turning = [_loops.look(loop, loops[loop], beat) for loop, beat in asked.items()]
        count = len(every)
        del members, every
        look = Look(
            pid=os.getpid(),
            program="/".join(PurePath(sys.argv[0]).parts[-2:]),  # no arguments: secrets
            python=platform.python_version(),
            at=time.time(),
            up=now - self._began,
            took=time.monotonic() - now,
            task_count=count,
            thread_count=sum(group.count for group in threads),
            context_count=open_,
            over_count=over,
            tasks=tasks,
            threads=threads,
            loops=turning,
            resources=resources,
            contexts=contexts,
            overdue=overdue,
        )
        self._compare(look, now)
        return look

    def _compare(self, look: Look, now: float) -> None:
        groups = [*look.tasks, *look.threads]
        counts = {_key(group): group.count for group in groups}
        before = self._before
        while len(before) > 1 and now - before[0][0] > WINDOW:
            before.popleft()
        if before and now - before[0][0] > LONGEST:
            before.clear()  # in between it may have been anything
        if before and now - before[0][0] >= APART:
            then, were, total = before[0]
            for group in groups:
                more = group.count - were.get(_key(group), 0)
                group.growth = more / (now - then)
            look.growth = (look.task_count - total) / (now - then)
        self._first = {key: self._first.get(key, now) for key in counts}
        for group in groups:
            group.since = now - self._first[_key(group)]
        if not before or now - before[-1][0] >= APART:
            before.append((now, counts, look.task_count))
        # What grows is what is looked for; then what there is most of.
        look.tasks.sort(key=lambda one: (-_grows(one), -one.count))


def _grows(group: Group) -> float:
    """By how many a second; 0 of what comes and goes, or becomes less."""
    rate = group.growth
    return 0.0 if rate is None or rate < NOTED else rate


def _key(group: Group) -> str:
    return f"{group.kind} {group.id}"


def _nothing() -> None:
    """What is noted of a context: it says the rest itself."""


def note_loop() -> None:
    """Have the loop of the caller known, if there is one."""
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        return
    known.state_of(loop)
