"""A look as text, in the order in which it is read at night, and the words of times."""

from __future__ import annotations

from collections.abc import Iterator

from ._model import Branch, Group, Look


def duration(seconds: float | None) -> str:
    """A time as a person says it."""
    if seconds is None:
        return "-"
    sign, left = ("-", -seconds) if seconds < 0 else ("", seconds)
    if left < 1.0:
        return f"{sign}{left * 1e3:.0f}ms"
    if left < 60.0:
        return f"{sign}{left:.1f}s"
    whole = int(left)
    if whole < 3600:
        return f"{sign}{whole // 60}m{whole % 60:02}s"
    if whole < 86400:
        return f"{sign}{whole // 3600}h{whole % 3600 // 60:02}m"
    return f"{sign}{whole // 86400}d{whole % 86400 // 3600:02}h"


def growth(rate: float | None) -> str:
    """How many more a second."""
    return "-" if rate is None else f"{rate:+,.0f}/s"


def deadlines(group: Group) -> str:
    """How the members stand with their deadlines."""
    said = []
    if group.unlimited:
        said.append(f"none {100 * group.unlimited / group.count:.0f} %")
    if group.expired:
        said.append(f"expired {100 * group.expired / group.count:.0f} %")
    if group.remaining is not None and group.remaining > 0.0:
        said.append(f"next in {duration(group.remaining)}")
    return ", ".join(said)


def plain(said: str) -> str:
    """A line as it is, if nothing in it does something to a terminal."""
    return said if said.isprintable() else ascii(said)[1:-1]


def text(look: Look) -> str:
    """All of it."""
    return "\n".join(map(plain, _lines(look))) + "\n"


def _lines(look: Look) -> Iterator[str]:
    yield (
        f"tether  pid {look.pid}  up {duration(look.up)}  python {look.python}  "
        f"{look.program}"
    )
    yield (
        f"tasks {look.task_count:,} ({growth(look.growth)})   "
        f"threads {look.thread_count:,}   contexts {look.context_count:,}   "
        f"over but still running {look.over_count:,}   "
        f"looked in {duration(look.took)}"
    )
    for loop in look.loops:
        if loop.stuck:
            yield (
                f"LOOP in {loop.thread} STUCK for {duration(loop.lag)} at {loop.at}, "
                f"in task {loop.task or 'none: a callback'}"
            )
        else:
            yield f"loop in {loop.thread}: answers in {duration(loop.lag)}"
    for heading, groups in (("TASKS", look.tasks), ("THREADS", look.threads)):
        yield ""
        yield heading
        for group in groups:
            yield from _group(group)
    if look.resources:
        yield ""
        yield "WAITED FOR"
    for one in look.resources:
        yield f"{one.name}: {one.waiting:,} wait, {one.state or 'no state known'}"
        if one.note:
            yield f"    {one.note}"
        for holder in one.holders:
            yield (
                f"    held by {holder.count:,}: {holder.root}, {holder.name}, "
                f"open {duration(holder.age)}, at {holder.at}"
            )
    if look.overdue:
        yield ""
        yield "OVER BUT STILL RUNNING"
    for late in look.overdue:
        yield (
            f"{late.label}: over for {duration(late.over)}, {late.why}; "
            f"made at {late.site}, {late.task or 'no task'}"
            + (f", at {late.at}" if late.at else "")
        )
        for held in late.holds:
            yield f"    holds {held}"
    yield ""
    yield "CONTEXTS"
    yield from _branches(look.contexts)


def _group(group: Group) -> Iterator[str]:
    yield (
        f"{group.count:,} @ {group.root}   {growth(group.growth)}   "
        f"oldest {duration(group.oldest)}   seen for {duration(group.since)}   "
        f"deadline {deadlines(group)}"
    )
    if group.waits:
        yield f"    waits for {group.waits}"
    if group.request_id:
        yield f"    request id of the oldest: {group.request_id}"
    for line in group.stack:
        yield f"#   {line}"


def _branches(branches: list[Branch]) -> Iterator[str]:
    todo = [(branch, 0) for branch in reversed(branches)]
    while todo:
        branch, depth = todo.pop()
        left = branch.remaining
        limit = "" if left is None else f", {duration(left)} left"
        over = f", {branch.over:,} over" if branch.over else ""
        site = f", made at {branch.site}" if branch.site else ""
        yield (
            f"{'  ' * depth}{branch.count:,} {branch.label}{site}, "
            f"oldest {duration(branch.oldest)}{limit}{over}"
        )
        todo += [(child, depth + 1) for child in reversed(branch.children)]
