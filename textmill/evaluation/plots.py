"""The evaluation page's plots, as SVG with the page's colours. Crawled text in them is escaped."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

_WIDTH, _HEIGHT = 560, 260  # of the curves
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 14, 12, 40  # margins
_ROW = 34  # of the strips


@dataclass(frozen=True, slots=True)
class Line:
    """Points joined by a line."""

    name: str
    css: str  # class
    points: Sequence[tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Row:
    """Values on one row of a strip plot."""

    name: str
    css: str
    values: Sequence[tuple[float, str]]  # each value and its name
    mark: float  # drawn as a vertical bar
    mark_css: str


def ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Round numbers that cover a range."""
    step = 10 ** math.floor(math.log10((high - low) / about)) if high > low else 1.0
    step *= next(factor for factor in (1, 2, 5, 10) if (high - low) / (factor * step) <= about + 1)
    first = math.floor(low / step)
    return [round((first + number) * step, 12) for number in range(math.ceil(high / step) - first + 1)]


def curves(lines: Sequence[Line], across: str, up: str, best: tuple[float, float] | None = None) -> Markup:
    """Lines over steps; `best` is a point to mark. Empty if there is nothing to draw."""
    points = [point for line in lines for point in line.points]
    if len(points) < 2:
        return Markup("")
    bottom, top = _reach(y for _, y in points)
    levels, steps = ticks(bottom, top), ticks(0, max(x for x, _ in points))

    def place(x: float, y: float) -> tuple[float, float]:
        along = (x - steps[0]) / (steps[-1] - steps[0]) * (_WIDTH - _LEFT - _RIGHT)
        above = (y - levels[0]) / (levels[-1] - levels[0]) * (_HEIGHT - _TOP - _BOTTOM)
        return _LEFT + along, _HEIGHT - _BOTTOM - above

    parts = [_level(place(0, level)[1], level) for level in levels]
    parts += [_text(place(step, 0)[0], _HEIGHT - _BOTTOM + 16, f"{step:g}") for step in steps]
    parts.append(_text((_LEFT + _WIDTH - _RIGHT) / 2, _HEIGHT - 6, across))
    for line in lines:
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in (place(*point) for point in line.points))
        parts.append(Markup('<polyline class="line {}" points="{}"/>').format(line.css, path))
    if best:
        x, y = place(*best)
        circle = Markup('<circle class="best" cx="{:.1f}" cy="{:.1f}" r="4.5"><title>{:.3f}</title></circle>')
        parts.append(circle.format(x, y, best[1]))
    return _svg(_WIDTH, _HEIGHT, parts, f"{up} over {across}")


def strips(rows: Sequence[Row], across: str) -> Markup:
    """A dot per value, a row per model or source, on one scale. Empty if there is nothing to draw."""
    values = [value for row in rows for value, _ in row.values]
    if not values:
        return Markup("")
    scale = ticks(*_reach([*values, *(row.mark for row in rows)]))
    left = 16 + 6.8 * min(30, max(len(row.name) for row in rows))
    height = _TOP + _ROW * len(rows) + _BOTTOM

    def place(value: float) -> float:
        return left + (value - scale[0]) / (scale[-1] - scale[0]) * (_WIDTH - left - _RIGHT)

    bottom = height - _BOTTOM
    parts = [
        _line("grid", (place(value), _TOP), (place(value), bottom)) + _text(place(value), bottom + 16, f"{value:g}")
        for value in scale
    ]
    parts.append(_text((left + _WIDTH - _RIGHT) / 2, height - 6, across))
    for number, row in enumerate(rows):
        y = _TOP + _ROW * (number + 0.5)
        parts.append(_text(left - 8, y + 4, row.name if len(row.name) <= 30 else f"{row.name[:29]}…", "end"))
        parts += [_DOT.format(row.css, place(value), y, said, value) for value, said in row.values]
        x = place(row.mark)
        parts.append(_line(f"mark {row.mark_css}", (x, y - 13), (x, y + 13)))
    return _svg(_WIDTH, height, parts, across)


_DOT = Markup('<circle class="dot {}" cx="{:.1f}" cy="{:.1f}" r="4"><title>{}: {:.3f}</title></circle>')
_LINE = Markup('<line class="{}" x1="{:.1f}" y1="{:.1f}" x2="{:.1f}" y2="{:.1f}"/>')
_TEXT = Markup('<text x="{:.1f}" y="{:.1f}" text-anchor="{}">{}</text>')
_SVG = Markup('<svg viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg>')


def _reach(values: Iterable[float]) -> tuple[float, float]:
    """The least and the greatest value, or a range around them if they are equal."""
    found = sorted(values)
    return (found[0], found[-1]) if found[0] < found[-1] else (found[0] - 0.5, found[0] + 0.5)


def _level(y: float, value: float) -> Markup:
    return _line("grid", (_LEFT, y), (_WIDTH - _RIGHT, y)) + _text(_LEFT - 8, y + 4, f"{value:g}", "end")


def _line(css: str, start: tuple[float, float], stop: tuple[float, float]) -> Markup:
    return _LINE.format(css, *start, *stop)


def _text(x: float, y: float, text: str, anchor: str = "middle") -> Markup:
    return _TEXT.format(x, y, anchor, text)


def _svg(width: int, height: int, parts: Sequence[Markup], label: str) -> Markup:
    return _SVG.format(width, height, label, Markup("").join(parts))
