"""The evaluation page's plots, as SVG that takes its colours from the page.

Figures go in; text that was crawled is escaped here.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape

_WIDTH, _HEIGHT = 560, 260  # of the curves
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 14, 12, 40  # margins
_ROW = 34  # of the strips


@dataclass(frozen=True, slots=True)
class Line:
    """Points joined up."""

    name: str
    css: str  # class
    points: Sequence[tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Row:
    """Values on one row of a strip plot."""

    name: str
    css: str
    values: Sequence[tuple[float, str]]  # a value and what it is of
    mark: float  # drawn across the row
    mark_css: str


def ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Round numbers that cover a range."""
    step = 10 ** math.floor(math.log10((high - low) / about)) if high > low else 1.0
    step *= next(factor for factor in (1, 2, 5, 10) if (high - low) / (factor * step) <= about + 1)
    first = math.floor(low / step)
    return [round((first + number) * step, 12) for number in range(math.ceil(high / step) - first + 1)]


def curves(lines: Sequence[Line], across: str, up: str, best: tuple[float, float] | None = None) -> str:
    """Lines over steps; `best` is a point to mark. Empty where there is nothing to draw."""
    points = [point for line in lines for point in line.points]
    if len(points) < 2:
        return ""
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
        parts.append(f'<polyline class="line {line.css}" points="{path}"/>')
    if best:
        x, y = place(*best)
        parts.append(f'<circle class="best" cx="{x:.1f}" cy="{y:.1f}" r="4.5"><title>{best[1]:.3f}</title></circle>')
    return _svg(_WIDTH, _HEIGHT, parts, f"{up} over {across}")


def strips(rows: Sequence[Row], across: str) -> str:
    """A dot for each value, a row for each model or source, on one scale. Empty where there is nothing to draw."""
    values = [value for row in rows for value, _ in row.values]
    if not values:
        return ""
    scale = ticks(*_reach([*values, *(row.mark for row in rows)]))
    left = 16 + 6.8 * min(30, max(len(row.name) for row in rows))
    height = _TOP + _ROW * len(rows) + _BOTTOM

    def place(value: float) -> float:
        return left + (value - scale[0]) / (scale[-1] - scale[0]) * (_WIDTH - left - _RIGHT)

    bottom = height - _BOTTOM
    parts = [
        f'<line class="grid" x1="{place(value):.1f}" x2="{place(value):.1f}" y1="{_TOP}" y2="{bottom}"/>'
        + _text(place(value), bottom + 16, f"{value:g}")
        for value in scale
    ]
    parts.append(_text((left + _WIDTH - _RIGHT) / 2, height - 6, across))
    for number, row in enumerate(rows):
        y = _TOP + _ROW * (number + 0.5)
        parts.append(_text(left - 8, y + 4, row.name if len(row.name) <= 30 else f"{row.name[:29]}…", "end"))
        parts += [
            f'<circle class="dot {row.css}" cx="{place(value):.1f}" cy="{y:.1f}" r="4"><title>{escape(said)}: {value:.3f}</title></circle>'
            for value, said in row.values
        ]
        x = place(row.mark)
        parts.append(
            f'<line class="mark {row.mark_css}" x1="{x:.1f}" x2="{x:.1f}" y1="{y - 13:.1f}" y2="{y + 13:.1f}"/>'
        )
    return _svg(_WIDTH, height, parts, across)


def _reach(values: Iterable[float]) -> tuple[float, float]:
    """The least and the greatest value; apart from one another also where all are equal."""
    found = sorted(values)
    return (found[0], found[-1]) if found[0] < found[-1] else (found[0] - 0.5, found[0] + 0.5)


def _level(y: float, value: float) -> str:
    line = f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
    return line + _text(_LEFT - 8, y + 4, f"{value:g}", "end")


def _text(x: float, y: float, text: str, anchor: str = "middle") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def _svg(width: int, height: int, parts: Sequence[str], label: str) -> str:
    return f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{escape(label)}">{"".join(parts)}</svg>'
