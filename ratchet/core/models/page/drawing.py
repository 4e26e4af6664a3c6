"""Lines, points and intervals as inline SVG: no script, no network, colours by class for light and dark. Pure.

The colours are in `STYLE`. All text is escaped. Numbers in the picture's own units are scaled here and nowhere else.
"""

from collections.abc import Sequence
from html import escape
from typing import NamedTuple

STYLE = """
svg { max-width: 100%; height: auto; font: 12px system-ui, sans-serif }
svg text { fill: var(--ink) } svg .axis { stroke: var(--faint); fill: none } svg .ideal { stroke: var(--faint);
stroke-dasharray: 4 4; fill: none } svg .challenger { stroke: var(--one); fill: none; stroke-width: 2 }
svg .champion { stroke: var(--two); fill: none; stroke-width: 2 }
svg .untempered { stroke: var(--one); fill: none; stroke-width: 1; stroke-dasharray: 2 3 }
svg .limit { stroke: var(--bad); stroke-dasharray: 5 3 }
svg circle.challenger { fill: var(--one); stroke: none; fill-opacity: .45 }
svg circle.champion { fill: var(--two); stroke: none; fill-opacity: .45 }
svg .bad { stroke: var(--bad); fill: var(--bad) } svg .fine { stroke: var(--one); fill: var(--one) }
.challenger-ink { color: var(--one) } .champion-ink { color: var(--two) }
"""
_SIDE, _LEFT, _BOTTOM, _TOP = 260, 44, 34, 10
_ROW, _NAME_WIDTH, _PLOT_WIDTH = 22, 300, 360
_NAME_CHARS = 48


class Series(NamedTuple):
    """A line, or points, of one model."""

    model: str
    """challenger, champion or untempered: its class of colour."""
    points: Sequence[tuple[float, float]]


class GainInterval(NamedTuple):
    """A row of a forest plot."""

    name: str
    value: float
    low: float
    high: float
    is_bad: bool


def draw_lines(series: Sequence[Series], *, across: str, up: str, has_ideal: bool) -> str:
    """Lines in the unit square, with dots; `has_ideal` draws its diagonal."""
    drawn = [f'<line class="ideal" x1="{_x(0)}" y1="{_y(0)}" x2="{_x(1)}" y2="{_y(1)}"/>'] if has_ideal else []
    for each in series:
        places = " ".join(f"{_x(x)},{_y(y)}" for x, y in each.points)
        drawn.append(f'<polyline class="{each.model}" points="{places}"/>')
    return _framed(drawn, across=across, up=up, low=(0.0, 0.0), high=(1.0, 1.0))


def draw_points(series: Sequence[Series], *, across: str, up: str) -> str:
    """Points of any unit, one scale for both directions' own spans, with the line where up is 0."""
    points = [point for each in series for point in each.points]
    if not points:
        return ""
    low = (min(x for x, _ in points), min(0.0, *(y for _, y in points)))
    high = (max(x for x, _ in points), max(0.0, *(y for _, y in points)))
    spans = [(top - bottom) or 1.0 for bottom, top in zip(low, high, strict=True)]
    zero = _y(-low[1] / spans[1])
    drawn = [f'<line class="ideal" x1="{_x(0)}" y1="{zero}" x2="{_x(1)}" y2="{zero}"/>']
    drawn += [
        f'<circle class="{each.model}" cx="{_x((x - low[0]) / spans[0])}" cy="{_y((y - low[1]) / spans[1])}" r="2.5"/>'
        for each in series
        for x, y in each.points
    ]
    return _framed(drawn, across=across, up=up, low=low, high=high)


def draw_forest(rows: Sequence[GainInterval], *, limit: float, unit: str) -> str:
    """One line a row: its value, its interval, 0, and the limit."""
    if not rows:
        return ""
    ends = [0.0, limit, *(end for row in rows for end in (row.low, row.high))]
    low, span = min(ends), (max(ends) - min(ends)) or 1.0
    height = _ROW * (len(rows) + 2)

    def across(value: float) -> float:
        return round(_NAME_WIDTH + _PLOT_WIDTH * (value - low) / span, 1)

    drawn = [_upright("axis", across(0.0), height), _upright("limit", across(limit), height)]
    for place, row in enumerate(rows, 1):
        y, kind = _ROW * place, "bad" if row.is_bad else "fine"
        shown = row.name if len(row.name) <= _NAME_CHARS else row.name[: _NAME_CHARS - 1] + "…"
        told = f"{row.name}: {row.value:+.3f}, {row.low:+.3f} to {row.high:+.3f}"
        drawn.append(
            f"<g><title>{escape(told)}</title>"
            f'<text x="{_NAME_WIDTH - 8}" y="{y + 4}" text-anchor="end">{escape(shown)}</text>'
            f'<line class="{kind}" x1="{across(row.low)}" x2="{across(row.high)}" y1="{y}" y2="{y}"/>'
            f'<circle class="{kind}" cx="{across(row.value)}" cy="{y}" r="3.5"/></g>'
        )
    foot = height - 6
    drawn.append(f'<text x="{across(0.0)}" y="{foot}" text-anchor="middle">0</text>')
    drawn.append(f'<text x="{across(limit)}" y="{foot}" text-anchor="middle">limit {limit:+.3g}</text>')
    width = _NAME_WIDTH + _PLOT_WIDTH + 60
    return (
        f'<svg role="img" aria-label="{escape(unit)}" viewBox="0 0 {width} {height}" width="{width}">'
        f"{''.join(drawn)}</svg>"
    )


def _upright(kind: str, x: float, height: int) -> str:
    return f'<line class="{kind}" x1="{x}" x2="{x}" y1="4" y2="{height - _ROW}"/>'


def _x(share: float) -> float:
    return round(_LEFT + _SIDE * share, 1)


def _y(share: float) -> float:
    return round(_TOP + _SIDE * (1 - share), 1)


def _framed(drawn: Sequence[str], *, across: str, up: str, low: tuple[float, float], high: tuple[float, float]) -> str:
    """With axes, their ends and their names."""
    width, height = _LEFT + _SIDE + 20, _TOP + _SIDE + _BOTTOM
    left, bottom, middle = _x(0), _y(0), _x(0.5)
    frame = (
        f'<path class="axis" d="M{left},{_y(1)} V{bottom} H{_x(1)}"/>'
        f'<text x="{left}" y="{bottom + 14}">{low[0]:.3g}</text>'
        f'<text x="{_x(1)}" y="{bottom + 14}" text-anchor="end">{high[0]:.3g}</text>'
        f'<text x="{middle}" y="{bottom + 28}" text-anchor="middle">{escape(across)}</text>'
        f'<text x="{left - 4}" y="{bottom}" text-anchor="end">{low[1]:.3g}</text>'
        f'<text x="{left - 4}" y="{_y(1) + 8}" text-anchor="end">{high[1]:.3g}</text>'
        f'<text transform="translate(12 {_y(0.5)}) rotate(-90)" text-anchor="middle">{escape(up)}</text>'
    )
    return (
        f'<svg role="img" aria-label="{escape(up)} by {escape(across)}" viewBox="0 0 {width} {height}" '
        f'width="{width}">{frame}{"".join(drawn)}</svg>'
    )
