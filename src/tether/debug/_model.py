"""What one look at the process finds, as plain data: the faces show it."""

from __future__ import annotations

from dataclasses import dataclass, field

from ._loops import LoopLook


@dataclass(frozen=True)
class Line:
    """One frame of a stack."""

    function: str
    file: str
    line: int
    first: int
    """The line on which the function begins."""

    def __str__(self) -> str:
        short = "/".join(self.file.replace("\\", "/").split("/")[-2:])
        return f"{self.function} {short}:{self.line}"


@dataclass
class Group:
    """Tasks, or threads, of one root that stand in the same functions."""

    id: str
    kind: str
    """ "task" or "thread"."""
    root: str
    count: int
    stack: list[Line]
    """From the outermost to the innermost; the most frequent lines of `looked` members.
    """
    looked: int
    oldest: float | None
    """Seconds since the root of the oldest member was made."""
    unlimited: int
    """Members whose context has no deadline, or that have no context."""
    expired: int
    """Members whose deadline has passed."""
    remaining: float | None
    """Seconds, the least that a member has left; negative: that long over."""
    waits: str
    """What most of them wait for."""
    resource: str
    """The id of that, among the resources; "" if nobody can hold it."""
    request_id: str
    """Of the oldest member that has one."""
    names: list[str]
    """Of a few members."""
    since: float = 0.0
    """Seconds since a look found this group first."""
    growth: float | None = None
    """Members more per second than at the look before; None: there was none."""


@dataclass
class Holder:
    """Who holds what others wait for."""

    name: str
    root: str
    age: float | None
    at: str
    count: int = 1


@dataclass
class Resource:
    """What tasks or threads wait for."""

    id: str
    name: str
    kind: str
    state: str
    waiting: int
    holders: list[Holder] = field(default_factory=list)
    holder_count: int = 0
    note: str = ""


@dataclass
class Branch:
    """Open contexts that were made at the same place below the same branch."""

    label: str
    site: str
    count: int
    oldest: float
    remaining: float | None
    over: int
    """How many of them have ended, and their block has not been left."""
    children: list[Branch] = field(default_factory=list)


@dataclass
class Overdue:
    """A context that is over while its block still runs."""

    label: str
    site: str
    age: float
    over: float
    """Seconds since its end."""
    why: str
    holds: list[str]
    task: str
    at: str


@dataclass
class Look:
    """The whole process at one moment."""

    pid: int
    program: str
    python: str
    at: float
    """Seconds since 1970."""
    up: float
    """Seconds since `serve()`, or since the first look."""
    took: float
    """Seconds that this look took."""
    task_count: int
    thread_count: int
    """Without those of the page."""
    context_count: int
    over_count: int
    tasks: list[Group]
    threads: list[Group]
    loops: list[LoopLook]
    resources: list[Resource]
    contexts: list[Branch]
    overdue: list[Overdue]
    growth: float | None = None
    """Tasks more per second than at the look before."""
