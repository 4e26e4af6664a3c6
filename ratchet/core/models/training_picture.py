"""A training as a page for people: its curves as SVG, its epochs, what it ran on. No script, no network. Pure."""

import math
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import Literal, NamedTuple

from ratchet.core.models.training_history import EpochMetrics, thinned

_WIDTH, _HEIGHT = 640, 220
_LEFT, _RIGHT, _TOP, _BOTTOM = 84, 12, 12, 28
"""Room around a chart: for numbers such as 0.0007372 to its left, for the epochs below it."""
_POINTS_MAX = 400
"""Of a line: more than one in two pixels are not seen."""
_DOTS_MAX = 40
_DRAWN_MAX = 1e300
"""A chart has room around its numbers, which floats have not above; nan and infinities are left out with them."""
_ROWS_MAX = 50
_TICKS = 4
_STYLE = """
:root { color-scheme: light dark; --ink: #1a1a1a; --paper: #fff; --faint: #d8d8d8; --first: #1d4ed8; --second: #b8430a;
  --mark: #6b21a8 }
@media (prefers-color-scheme: dark) { :root { --ink: #e8e8e8; --paper: #161616; --faint: #404040; --first: #7da7ff;
  --second: #ffab7a; --mark: #d8b4fe } }
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 60rem; padding: 0 1rem; color: var(--ink);
  background: var(--paper) }
h1 { font-size: 1.4rem } h2 { font-size: 1.1rem; margin: 1.6rem 0 .3rem } svg { max-width: 100%; height: auto }
table { border-collapse: collapse } th, td { text-align: left; padding: .25rem .8rem .25rem 0;
  border-bottom: 1px solid var(--faint); vertical-align: top } td.number, th.number { text-align: right;
  font-variant-numeric: tabular-nums }
.grid { stroke: var(--faint) } .mark { stroke: var(--mark); stroke-dasharray: 4 3 }
text { fill: var(--ink); font-size: 12px }
.first { stroke: var(--first); color: var(--first) } .second { stroke: var(--second); color: var(--second) }
.resumed { color: var(--mark) } polyline { fill: none; stroke-width: 2 } circle { fill: currentColor; stroke: none }
"""

Unit = Literal["epoch", "tree"]


class _Curve(NamedTuple):
    """One line of a chart."""

    name: str
    field: str
    """Of `EpochMetrics`."""


class _Chart(NamedTuple):
    """One picture."""

    title: str
    curves: tuple[_Curve, ...]


_CHARTS = (
    _Chart("Loss", (_Curve("training", "train_loss"), _Curve("validation", "val_loss"))),
    _Chart("Accuracy on the validation rows", (_Curve("validation", "val_accuracy"),)),
    _Chart("Training rows per second", (_Curve("rows per second", "rows_per_s"),)),
    _Chart("Learning rate", (_Curve("learning rate", "learning_rate"),)),
)
_COLUMNS = {
    "train_loss": "training loss",
    "val_loss": "validation loss",
    "val_accuracy": "accuracy",
    "learning_rate": "learning rate",
    "rows_per_s": "rows/s",
    "peak_memory_mb": "peak memory, MiB",
    "wait_ratio": "waited for rows",
}


class _Point(NamedTuple):
    """In the numbers of the chart."""

    x: float
    y: float


def render_training(
    history: Sequence[EpochMetrics],
    *,
    title: str,
    unit: Unit,
    facts: Mapping[str, str],
    environment: Mapping[str, str],
    search: str = "",
) -> str:
    """One HTML page. facts: what the training began with; environment: what it ran on; both by name for people.
    search: the part about the trials of a search, as HTML."""
    charts = "".join(_render_chart(chart, history, unit=unit) for chart in _CHARTS)
    epochs = _render_epochs(history, unit=unit) if history else ""
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title><style>{_STYLE}</style></head><body>
<h1>{escape(title)}</h1>
{"".join(f"<p>{escape(sentence)}</p>" for sentence in _sentences_of(history, unit=unit))}
{search}
{charts}
{epochs}
{_render_table("What it began with", facts)}
{_render_table("What it ran on", environment)}
</body></html>
"""


def _sentences_of(history: Sequence[EpochMetrics], *, unit: Unit) -> Iterator[str]:
    if not history:
        yield "The history of this training is not recorded."
        return
    last = history[-1]
    number = f"{last.epoch:,} {unit}{'s' if last.epoch > 1 else ''}"
    validation = "; no validation rows" if last.val_loss is None else f", on the validation rows {last.val_loss:.4g}"
    yield f"{number}; the last training loss is {last.train_loss:.4g}{validation}."
    measured = [(each.val_loss, each.epoch) for each in history if each.val_loss is not None]
    if measured and unit == "epoch":
        loss, epoch = min(measured)
        yield f"The model has the weights of epoch {epoch}, where the validation loss is lowest: {loss:.4g}."
    for each in history:
        if each.resumed_at_step is not None:
            yield f"The training went on from a checkpoint {_place_words(each)}."


def _place_words(epoch: EpochMetrics) -> str:
    step = epoch.resumed_at_step
    return f"after step {step} of epoch {epoch.epoch}" if step else f"at the beginning of epoch {epoch.epoch}"


def _render_chart(chart: _Chart, history: Sequence[EpochMetrics], *, unit: Unit) -> str:
    """Nothing where nothing was measured."""
    lines = [(curve.name, _points_of(curve, history)) for curve in chart.curves]
    drawn = [(name, points) for name, points in lines if points]
    if not drawn:
        return ""
    scale = _scale_of([point for _, points in drawn for point in points])
    classes = ("first", "second")
    parts = [_render_axes(scale)]
    parts += [_render_mark(each, scale) for each in history if each.resumed_at_step is not None]
    parts += [_render_line(points, scale, css=css) for (_, points), css in zip(drawn, classes, strict=False)]
    legend = " ".join(
        f'<span class="{css}">■</span> {escape(name)}' for (name, _), css in zip(drawn, classes, strict=False)
    )
    resumed = any(each.resumed_at_step is not None for each in history)
    mark = ' <span class="resumed">┆</span> went on from a checkpoint' if resumed else ""
    label = escape(f"{chart.title} by {unit}")
    return (
        f"<h2>{escape(chart.title)}</h2><div>{legend}{mark}</div>"
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" width="{_WIDTH}" height="{_HEIGHT}" role="img" aria-label="{label}">'
        f"<title>{label}</title>{''.join(parts)}</svg>"
    )


def _points_of(curve: _Curve, history: Sequence[EpochMetrics]) -> list[_Point]:
    found = ((each.epoch, getattr(each, curve.field)) for each in thinned(history, _POINTS_MAX))
    return [_Point(epoch, value) for epoch, value in found if value is not None and abs(value) <= _DRAWN_MAX]


class _Scale(NamedTuple):
    """From numbers to pixels."""

    low: _Point
    high: _Point

    def x(self, value: float) -> float:
        return _LEFT + (value - self.low.x) / (self.high.x - self.low.x) * (_WIDTH - _LEFT - _RIGHT)

    def y(self, value: float) -> float:
        # Halves, because the span of two floats may be no float.
        share = (value / 2 - self.low.y / 2) / (self.high.y / 2 - self.low.y / 2)
        return _HEIGHT - _BOTTOM - share * (_HEIGHT - _TOP - _BOTTOM)


def _scale_of(points: Sequence[_Point]) -> _Scale:
    """From the first epoch to the last, and from the smallest number to the largest; never a span of nothing."""
    xs, ys = [point.x for point in points], [point.y for point in points]
    low, high = min(ys), max(ys)
    # A line that does not move lies in the middle; below 1e-300 halves of a span are none.
    room = abs(high) * 0.1 or 1.0
    if high / 2 - low / 2 <= abs(high) * 1e-9 or high / 2 - low / 2 < 1e-300:
        low, high = low - room, high + room
    return _Scale(_Point(min(min(xs), 1.0), low), _Point(max(max(xs), 2.0), high))


def _render_axes(scale: _Scale) -> str:
    parts = []
    for part in range(_TICKS + 1):
        share = part / _TICKS
        value = scale.low.y * (1 - share) + scale.high.y * share
        at = scale.y(value)
        parts.append(f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{at:.1f}" y2="{at:.1f}"/>')
        parts.append(f'<text x="{_LEFT - 6}" y="{at + 4:.1f}" text-anchor="end">{_number(value)}</text>')
    for epoch in _epoch_ticks(int(scale.low.x), int(scale.high.x)):
        at = scale.x(epoch)
        parts.append(f'<text x="{at:.1f}" y="{_HEIGHT - 8}" text-anchor="middle">{epoch:,}</text>')
    return "".join(parts)


def _epoch_ticks(first: int, last: int) -> list[int]:
    """Whole epochs, the first and the last among them, at most ten."""
    step = max(1, math.ceil((last - first) / 9))
    ticks = list(range(first, last + 1, step))
    return ticks if last - ticks[-1] == 0 else [*[tick for tick in ticks if last - tick >= step], last]


def _render_mark(epoch: EpochMetrics, scale: _Scale) -> str:
    """Between the epochs' points: the one of an epoch is drawn at its end."""
    at = scale.x(max(epoch.epoch - (0.5 if epoch.resumed_at_step else 1), scale.low.x))
    title = escape(f"went on from a checkpoint {_place_words(epoch)}")
    return (
        f'<line class="mark" x1="{at:.1f}" x2="{at:.1f}" y1="{_TOP}" y2="{_HEIGHT - _BOTTOM}">'
        f"<title>{title}</title></line>"
    )


def _render_line(points: Sequence[_Point], scale: _Scale, *, css: str) -> str:
    places = [(scale.x(point.x), scale.y(point.y)) for point in points]
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    dots = "".join(
        f'<circle class="{css}" cx="{x:.1f}" cy="{y:.1f}" r="3">'
        f"<title>{point.x:,.0f}: {_number(point.y)}</title></circle>"
        for point, (x, y) in zip(points, places, strict=True)
    )
    return f'<polyline class="{css}" points="{path}"/>{dots if len(points) <= _DOTS_MAX else ""}'


def _render_epochs(history: Sequence[EpochMetrics], *, unit: Unit) -> str:
    shown = thinned(history, _ROWS_MAX)
    columns = {
        field: name for field, name in _COLUMNS.items() if any(getattr(each, field) is not None for each in shown)
    }
    head = "".join(f'<th class="number">{escape(name)}</th>' for name in (unit, *columns.values()))
    rows = "".join(
        f'<tr><td class="number">{each.epoch:,}</td>'
        + "".join(f'<td class="number">{_cell(field, getattr(each, field))}</td>' for field in columns)
        + "</tr>"
        for each in shown
    )
    rest = f"<p>{len(shown)} of {len(history):,} are shown.</p>" if len(shown) < len(history) else ""
    title = "Epochs" if unit == "epoch" else "Trees"
    return f"<h2>{title}</h2><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>{rest}"


def _cell(field: str, value: float | None) -> str:
    if value is None:
        return "–"
    if field in {"val_accuracy", "wait_ratio"}:
        return f"{value:.1%}"
    return f"{value:,.0f}" if field in {"rows_per_s", "peak_memory_mb"} else _number(value)


def _number(value: float) -> str:
    """Four digits, and no `e+04` where people count."""
    return f"{value:,.0f}" if 1000 <= abs(value) < 1e9 else f"{value:.4g}"


def _render_table(title: str, rows: Mapping[str, str]) -> str:
    if not rows:
        return ""
    cells = "".join(f"<tr><td>{escape(name)}</td><td>{escape(value)}</td></tr>" for name, value in rows.items())
    return f"<h2>{escape(title)}</h2><table><tbody>{cells}</tbody></table>"
