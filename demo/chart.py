"""Time lines as SVG: several series on one axis, in the page's own colors."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from html import escape

from demo.scale import Timeline

WIDTH, INNER = 940.0, 140.0
LEFT, RIGHT, ABOVE, BELOW = 52.0, 84.0, 26.0, 8.0
ROW = 15.0  # of a text

Point = tuple[float, float]


@dataclass
class Series:
    """One line: who it is (a class of the style sheet) and its points."""

    who: str
    points: list[Point]
    label: str = ""
    thin: bool = False


@dataclass
class Chart:
    """One time line, with what is to be seen on it."""

    title: str
    unit: str
    series: list[Series]
    bars: bool = False
    limit: tuple[float, str] | None = None
    marks: list[tuple[float, str, str]] = field(default_factory=list)
    notes: list[tuple[float, int, str]] = field(default_factory=list)


def draw(chart: Chart, line: Timeline, *, ticks: bool) -> str:
    """The chart, with the degradation behind it."""
    values = [y for one in chart.series for _, y in one.points]
    if chart.limit:
        values.append(chart.limit[0])
    step, top = _grid(max(values, default=1.0) or 1.0)
    above = ABOVE + ROW * len({row for _, row, _ in chart.notes})
    height = above + INNER + BELOW + (ROW if ticks else 0.0)

    def x(when: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * when / line.end

    def y(value: float) -> float:
        return above + INNER * (1.0 - value / top)

    box = f'viewBox="0 0 {WIDTH:g} {height:g}" aria-label="{escape(chart.title)}"'
    parts = [f'<svg role="img" {box}>', _behind(line, x, above)]
    value = 0.0
    while value <= top * 1.001:
        parts.append(
            f'<line class="grid" x1="{LEFT}" x2="{x(line.end):.1f}"'
            f' y1="{y(value):.1f}" y2="{y(value):.1f}"/>'
            f'<text class="tick" x="{LEFT - 8}" y="{y(value) + 4:.1f}"'
            f' text-anchor="end">{value:g}</text>'
        )
        value += step
    parts.append(
        f'<text class="name" x="{LEFT}" y="14">{escape(chart.title)}'
        f'<tspan class="unit" dx="6">{escape(chart.unit)}</tspan></text>'
    )
    if chart.limit:
        at, said = chart.limit
        parts.append(
            f'<line class="limit" x1="{LEFT}" x2="{x(line.end):.1f}"'
            f' y1="{y(at):.1f}" y2="{y(at):.1f}"/>'
            f'<text class="tick" x="{LEFT + 6}" y="{y(at) + 13:.1f}">'
            f"{escape(said)}</text>"
        )
    parts += [
        (
            _bars(one, number, len(chart.series), x, y)
            if chart.bars
            else _line(one, x, y)
        )
        for number, one in enumerate(chart.series)
    ]
    parts.append(_labels(chart.series, x(line.end), y))
    for when, who, said in chart.marks:
        parts.append(
            f'<g class="mark {who}"><title>{escape(said)}</title>'
            f'<path d="M{x(when) - 5:.1f} {y(top) + 3:.1f}l10 10m0 -10l-10 10"/></g>'
        )
    parts += [
        f'<text class="note" x="{x(when) + 5:.1f}" y="{above - 6 - ROW * row:.1f}">'
        f"{escape(said)}</text>"
        for when, row, said in chart.notes
    ]
    if ticks:
        for second in range(0, int(line.end) + 1, 10 if line.end > 30 else 5):
            parts.append(
                f'<text class="tick" x="{x(second):.1f}" y="{above + INNER + 17:.1f}"'
                f' text-anchor="middle">{second} s</text>'
            )
    return "".join([*parts, "</svg>"])


def spark(points: list[Point], line: Timeline, top: float, who: str) -> str:
    """A small time line without words."""
    width, height = 220.0, 36.0

    def x(when: float) -> float:
        return width * when / line.end

    def y(value: float) -> float:
        return 2.0 + (height - 3.0) * (1.0 - value / top)

    band = (
        f'<rect class="band" x="{x(line.degraded):.1f}" y="0" height="{height:g}"'
        f' width="{x(line.recovered) - x(line.degraded):.1f}"/>'
    )
    body = _line(Series(who, points, thin=True), x, y)
    return f'<svg class="spark" viewBox="0 0 {width:g} {height:g}">{band}{body}</svg>'


def _grid(most: float) -> tuple[float, float]:
    """The step between lines, and the highest of them: a round number."""
    step = 1.0
    while True:
        for factor in (1.0, 2.0, 5.0):
            if most / (step * factor) <= 4.0:
                rows = -(-most // (step * factor))
                return step * factor, rows * step * factor
        step *= 10.0


def _behind(line: Timeline, x: Callable[[float], float], above: float) -> str:
    def band(kind: str, begin: float, end: float) -> str:
        return (
            f'<rect class="{kind}" x="{x(begin):.1f}" y="{above}"'
            f' width="{x(end) - x(begin):.1f}" height="{INNER}"/>'
        )

    return (
        band("band", line.degraded, line.recovered)
        + band("burst", line.burst.begin, line.burst.end)
        + f'<line class="stop" x1="{x(line.stop):.1f}" x2="{x(line.stop):.1f}"'
        f' y1="{above}" y2="{above + INNER}"/>'
    )


def _line(one: Series, x: Callable[[float], float], y: Callable[[float], float]) -> str:
    path, pen = [], "M"
    for when, value in one.points:
        if math.isnan(value):  # nothing was seen
            pen = "M"
            continue
        path.append(f"{pen}{x(when):.1f} {y(value):.1f}")
        pen = "L"
    kind = "thin" if one.thin else "line"
    return f'<path class="{kind} {one.who}" d="{"".join(path)}"/>'


def _bars(
    one: Series,
    number: int,
    count: int,
    x: Callable[[float], float],
    y: Callable[[float], float],
) -> str:
    width = (x(1.0) - x(0.0)) / count - 1.0
    return "".join(
        f'<rect class="bar {one.who}" x="{x(when) + number * (width + 1.0):.1f}"'
        f' y="{y(value):.1f}" width="{width:.1f}" height="{y(0.0) - y(value):.1f}"/>'
        for when, value in one.points
        if value > 0.0
    )


def _labels(series: list[Series], right: float, y: Callable[[float], float]) -> str:
    """Each name at the end of its line, none upon another."""
    parts, floor = [], y(0.0) + ROW
    named = [one for one in series if one.label and one.points]
    for one in sorted(named, key=_last):  # the lowest first, each above the last
        floor = min(y(_last(one)), floor - ROW)
        parts.append(
            f'<text class="label {one.who}" x="{right + 6:.1f}" y="{floor + 4:.1f}">'
            f"{escape(one.label)}</text>"
        )
    return "".join(parts)


def _last(one: Series) -> float:
    seen = [value for _, value in one.points if not math.isnan(value)]
    return seen[-1] if seen else 0.0
