"""report.html: one file, without scripts and without anything from elsewhere."""

from __future__ import annotations

from collections import defaultdict
from html import escape
from pathlib import Path

from demo.chart import Chart, Point, Series, draw, spark
from demo.figures import Figures, figures, percentile, roots
from demo.replay import Record
from demo.scale import MEMORY, PLACES, PODS, RATE, Scale
from demo.verdict import promises, shortfalls

STYLE = Path(__file__).with_name("page.css")
NAN = float("nan")


def of(records: list[Record]) -> str:
    """The page; the first two records are the ones that are shown side by side."""
    one, two = records[:2]
    names = {one.variant: "then", two.variant: "now"}
    style = STYLE.read_text(encoding="utf-8")
    return "\n".join(
        [
            "<!doctype html>",
            '<html lang="en"><head><meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            '<meta name="color-scheme" content="light dark">',
            f"<title>The incident, replayed</title><style>{style}</style></head><body>",
            _head(one, two),
            _tiles(figures(one), figures(two)),
            '<section class="charts">',
            *_charts(one, two, names),
            "</section>",
            '<div class="columns">',
            _events(one, two),
            f"<div>{_roots(one)}{_promises(records)}{_scale(one.scale)}</div>",
            "</div>",
            _variants(records) if len(records) > 2 else "",
            "</body></html>\n",
        ]
    )


def title(record: Record) -> str:
    """What a variant is called."""
    known = {"incident": "the incident's handler", "BLS": "the fixed handler (BLS)"}
    return known.get(record.variant, f"variant {record.variant}")


def _head(one: Record, two: Record) -> str:
    return (
        "<header><h1>The incident, replayed</h1><p>The same shop twice, under the same"
        " requests. The service for recommendations degrades from 30 ms to 9 s, and"
        " every cart view prefetches from it. Only the prefetch differs: "
        f"<b class=then>{title(one)}</b>, and <b class=now>{title(two)}</b>."
        "</p></header>"
    )


def _tiles(one: Figures, two: Figures) -> str:
    def after(seconds: float | None) -> str:
        return "never" if seconds is None else f"{seconds:g} s"

    shown = [
        ("requests answered", f"{one.answered:.1f} %", f"{two.answered:.1f} %"),
        ("pods killed", str(one.killed), str(two.killed)),
        ("tasks in a pod, most", str(one.most_tasks), str(two.most_tasks)),
        ("normal again after", after(one.normal_after), after(two.normal_after)),
        ("payments lost", str(one.lost), str(two.lost)),
    ]
    return (
        '<section class="tiles">'
        + "".join(
            f"<div><h2>{name}</h2><b class=then>{a}</b><b class=now>{b}</b></div>"
            for name, a, b in shown
        )
        + "</section>"
    )


# -- time lines ------------------------------------------------------------------------


def _charts(one: Record, two: Record, names: dict[str, str]) -> list[str]:
    line = one.line
    killed = [
        (event.when, names[record.variant], event.what)
        for record in (one, two)
        for event in record.events
        if event.kind == "killed"
    ]
    notes = [
        (line.degraded, 1, "recommendations take 9 s"),
        (line.burst.begin, 0, f"{line.burst.times:g} times the cart views"),
        (line.recovered, 1, "recovered"),
        (line.stop, 1, "SIGTERM"),
    ]
    tasks = [
        Series(names[one.variant], _summed(one, "tasks"), one.variant),
        Series(names[two.variant], _summed(two, "tasks"), two.variant),
    ]
    memory = [
        Series(names[record.variant], points, record.variant if not pod else "")
        for record in (one, two)
        for pod, points in enumerate(_memory(record))
    ]
    latency = [
        Series(names[record.variant], _latency(record), record.variant)
        for record in (one, two)
    ]
    errors = [Series(names[record.variant], _errors(record)) for record in (one, two)]
    limit = one.scale.memory, f"limit: {one.scale.memory:g} MiB"
    charts = [
        Chart("Tasks", "in all pods of a shop", tasks, notes=notes),
        Chart("Memory", "MiB, each pod; ✕ killed", memory, limit=limit, marks=killed),
        Chart("Latency", "p99 of each second, ms", latency),
        Chart("Errors", "failed requests a second", errors, bars=True),
    ]
    return [draw(chart, line, ticks=chart is charts[-1]) for chart in charts]


def _summed(record: Record, name: str) -> list[Point]:
    """A number of all pods together, over time."""
    latest: dict[int, int] = {}
    points = []
    for look in sorted(record.looks, key=lambda one: one.when):
        latest[look.pod] = getattr(look, name)
        if len(latest) == record.scale.pods and look.pod == 0:
            points.append((look.when, float(sum(latest.values()))))
    return points


def _memory(record: Record) -> list[list[Point]]:
    lines: dict[int, list[Point]] = defaultdict(list)
    for look in record.looks:
        lines[look.pod].append((look.when, look.memory or NAN))
    return [lines[pod] for pod in sorted(lines)]


def _latency(record: Record) -> list[Point]:
    points = []
    for second in range(int(record.line.end)):
        seen = [
            one
            for one in record.load.answers
            if second <= one.due < second + 1 and not one.failed
        ]
        points.append((second + 0.5, percentile(seen, 0.99) if seen else NAN))
    return points


def _errors(record: Record) -> list[Point]:
    failed = [0] * (int(record.line.end) + 1)
    for one in record.load.answers:
        failed[int(one.due)] += one.failed
    return [(float(second), float(n)) for second, n in enumerate(failed)]


# -- words -----------------------------------------------------------------------------


def _events(one: Record, two: Record) -> str:
    common = {"degraded", "burst", "recovered", "stop"}
    rows = [
        (event.when, "both", event.what) for event in one.events if event.kind in common
    ]
    rows += [
        (event.when, who, event.what)
        for who, record in (("then", one), ("now", two))
        for event in record.events
        if event.kind not in common
    ]
    cells = "".join(
        f'<tr class="{who}"><td>{when:.1f} s</td><td>{escape(what)}</td></tr>'
        for when, who, what in sorted(rows)
    )
    return f"<div><h2>What happened when</h2><table class=events>{cells}</table></div>"


def _roots(record: Record) -> str:
    found = roots(record)
    most = max((n for _, _, n in found), default=1)
    bars = "".join(
        f"<tr><td><code>{escape(code)}</code><small>{escape(root)}</small>"
        f'<i style="width:{100.0 * n / most:.0f}%"></i></td><td>{n}</td></tr>'
        for root, code, n in found
    )
    return (
        "<h2>Where the stuck tasks were rooted</h2><p>The pod with most of them,"
        f" {title(record)}.</p><table class=roots>{bars}</table>"
    )


def _promises(records: list[Record]) -> str:
    items = "".join(
        f'<li class="{"kept" if kept else "broken"}">{escape(said)}</li>'
        for said, kept in promises(records).items()
    )
    return f"<h2>What it was to show</h2><ul class=promises>{items}</ul>"


def _scale(scale: Scale) -> str:
    rows = [
        (
            "requests a second",
            f"{RATE:g}",
            f"{scale.rate:g}, 1/{RATE / scale.rate:.0f}",
        ),
        ("pods", str(PODS), str(scale.pods)),
        ("memory of a pod", f"{MEMORY:g} MiB", f"{scale.memory:g} MiB"),
        ("places for prefetches in a pod", str(PLACES), str(scale.places)),
        ("held by a stuck prefetch", "12 KiB", f"{scale.weight / 1024:.0f} KiB"),
    ]
    cells = "".join(
        f"<tr><td>{name}</td><td>{then}</td><td>{here}</td></tr>"
        for name, then, here in rows
    )
    return (
        "<h2>By how much it is scaled</h2><table class=scale><tr><th></th><th>then</th>"
        f"<th>here</th></tr>{cells}</table>"
    )


def _variants(records: list[Record]) -> str:
    rows = []
    for record in records:
        points = _summed(record, "prefetches")
        top = max((value for _, value in points), default=1.0) or 1.0
        said = "; ".join(shortfalls(record)) or "nothing"
        letters = record.variant
        who = "now" if letters == "BLS" else "then"
        rows.append(
            f"<tr><th>{letters}</th><td>{spark(points, record.line, top, who)}"
            f"<small>{top:.0f} at most</small></td><td>{_code(said)}</td></tr>"
        )
    return (
        "<section><h2>All combinations of the three fixes</h2><p><b>B</b> a bounded"
        " context of its own, <b>L</b> every wait listens, <b>S</b> a semaphore that"
        " sheds. Prefetches in all pods over time, and in what each falls short:</p>"
        f"<table class=variants>{''.join(rows)}</table></section>"
    )


def _code(text: str) -> str:
    """Between back ticks is code."""
    parts = escape(text).split("`")
    return "".join(
        f"<code>{part}</code>" if number % 2 else part
        for number, part in enumerate(parts)
    )
