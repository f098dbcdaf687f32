"""What is printed: the progress, the table, and what it says."""

from __future__ import annotations

from textwrap import wrap

from demo.figures import figures, percentile, roots
from demo.replay import Record
from demo.scale import MEMORY, PLACES, PODS, RATE, Scale
from demo.verdict import promises, shortfalls

ROWS = {
    "requests": "requests",
    "answered": "answered, %",
    "failed": "failed",
    "p50": "p50 before, ms",
    "p99_before": "p99 before, ms",
    "p99_degraded": "p99 degraded, ms",
    "late_before": "p99 sent late before, ms",
    "late_degraded": "p99 sent late degraded, ms",
    "prefetched_before": "prefetched before, %",
    "shed": "prefetches shed",
    "most_prefetches": "prefetches in a pod, most",
    "still_stuck": "prefetches stuck at the end",
    "most_tasks": "tasks in a pod, most",
    "most_memory": "memory of a pod, most, MiB",
    "killed": "pods killed",
    "normal_after": "normal again after, s",
    "promised": "payments promised",
    "lost": "payments lost",
}


def say(text: str) -> None:
    """Print it now."""
    print(text, flush=True)


def of_scale(scale: Scale) -> str:
    """By how much all is scaled."""
    return (
        f"one shop got {scale.capacity:.0f} requests a second answered here\n"
        f"  requests a second  {RATE:g} then, {scale.rate:g} here:"
        f" 1/{RATE / scale.rate:.0f}\n"
        f"  pods               {PODS} then, {scale.pods} here\n"
        f"  memory of a pod    {MEMORY:g} MiB then, {scale.memory:g} here,"
        f" {scale.base:.0f} of which it needs; a cart weighs"
        f" {scale.weight / 1024:.0f} KiB\n"
        f"  places             {PLACES} in a pod then, {scale.places} here"
    )


def heading(records: list[Record]) -> str:
    """Above the progress."""
    names = "".join(f"  | {record.variant:<46}" for record in records)
    under = "  | req/s  failed     p99  tasks  MiB each pod    "
    return f"\n{'':14}{names}\n{'':14}{under * len(records)}"


def line(records: list[Record], now: float) -> str:
    """One second of each."""
    text = f"{now:4.0f} s {phase(records[0], now):9}"
    for record in records:
        seen = [one for one in record.load.answers if now - 1.0 <= one.due < now]
        failed = sum(one.failed for one in seen)
        pods = range(record.scale.pods)
        latest = [
            next((one for one in reversed(record.looks) if one.pod == pod), None)
            for pod in pods
        ]
        tasks = sum(one.tasks for one in latest if one)
        memory = " ".join(
            f"{one.memory:4.0f}" if one and one.memory else "   -" for one in latest
        )
        p99 = percentile(seen, 0.99)
        text += f"  | {len(seen):5d}  {failed:6d}  {p99:6.0f}  {tasks:5d}  {memory:16}"
    return text.rstrip()


def phase(record: Record, now: float) -> str:
    """Where we are."""
    at = record.line
    if now <= at.degraded:
        return "before"
    if now <= at.recovered:
        return "degraded"
    return "recovered" if now <= at.stop else "stopping"


def of(records: list[Record]) -> str:
    """The table."""
    columns = [figures(record).told for record in records]
    width = max(map(len, ROWS.values()))
    lines = ["", " " * width + "".join(f"{one.variant:>10}" for one in records)]
    for key, name in ROWS.items():
        cells = ("never" if one[key] is None else f"{one[key]:g}" for one in columns)
        lines.append(f"{name:{width}}" + "".join(f"{cell:>10}" for cell in cells))
    for record in records:
        said = "; ".join(shortfalls(record)) or "nothing"
        lines += ["", *wrap(f"{record.variant} falls short in: {said}.", 78)]
    lines.append("")
    lines += [
        f"{'yes' if kept else 'NO ':3}  {said}"
        for said, kept in promises(records).items()
    ]
    return "\n".join(lines)


def as_json(records: list[Record]) -> dict[str, object]:
    """The same for programs."""
    return {
        "scale": records[0].scale.told,
        "promises": promises(records),
        "variants": {
            record.variant: {
                **figures(record).told,
                "falls_short": shortfalls(record),
                "roots": [
                    {"root": root, "line": where, "tasks": n}
                    for root, where, n in roots(record)
                ],
                "events": [
                    {"when": round(one.when, 1), "what": one.what}
                    for one in record.events
                ],
            }
            for record in records
        },
    }
