"""The columns of a drift verdict as a table with SVG that every browser shows without scripts. Pure."""

from collections.abc import Iterator, Sequence
from html import escape

from ratchet.core.labels.drift.decide import ColumnDrift, ranked

_BAR_WIDTH, _HEIGHT = 12, 60
_OLD, _NEW = "#1d4ed8", "#c2410c"
_COLUMNS_SHOWN_MAX = 200
_STATES = {"drifted": "✗ drifted", "stable": "✓ stable", "too_few": "– too few", "not_judged": "– not judged"}
_HEAD = ("column", "", "shift", "limit", "p", "evidence", "would show from", "known, new", "share of rows", "")


def render_columns(columns: Sequence[ColumnDrift]) -> str:
    """Those that shift most come first; "" without columns."""
    if not columns:
        return ""
    rows = "".join(map(_render_column, ranked(columns)[:_COLUMNS_SHOWN_MAX]))
    rest = len(columns) - _COLUMNS_SHOWN_MAX
    more = f"<p>{rest} more comparisons are not shown.</p>" if rest > 0 else ""
    head = "".join(f"<th>{name}</th>" for name in _HEAD)
    return (
        f'<h2>Columns</h2><p><span style="color:{_OLD}">■ known</span> <span style="color:{_NEW}">■ new</span>. '
        "Evidence is an e-value of all looks at the known rows: drift must exceed the number of columns divided by "
        "<code>false_alarm_ratio</code>.</p>"
        f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>{more}"
    )


def _render_column(column: ColumnDrift) -> str:
    numbers = (
        f"{column.effect:.4g}",
        f"{column.limit:.4g}",
        f"{column.p_value:.2g}",
        f"{column.e_value:.3g}",
        f"{column.detectable:.3g}",
        f"{column.num_old:,}, {column.num_new:,}",
    )
    cells = "".join(f'<td class="number">{number}</td>' for number in numbers)
    kind = {"drifted": "failed", "stable": "held"}.get(column.state, "")
    told = f"{column.effect_name}; {column.test}"
    return (
        f'<tr class="{kind}"><td title="{escape(told)}">{escape(column.name)} <small>({column.role})</small></td>'
        f"<td>{_STATES[column.state]}</td>{cells}<td>{_render_bars(column)}</td><td>{escape(column.detail)}</td></tr>"
    )


def _render_bars(column: ColumnDrift) -> str:
    if not column.names:
        return ""
    top = max(*column.old, *column.new, 1e-12)
    width = len(column.names) * _BAR_WIDTH
    bars = "".join(bar for index in range(len(column.names)) for bar in _bars(column, index, top))
    return f'<svg viewBox="0 0 {width} {_HEIGHT}" width="{width}" height="{_HEIGHT}" role="img">{bars}</svg>'


def _bars(column: ColumnDrift, index: int, top: float) -> Iterator[str]:
    label = f"{column.names[index]}: {column.old[index]:.1%} known, {column.new[index]:.1%} new"
    yield f"<g><title>{escape(label)}</title>"
    for place, (share, colour) in enumerate(((column.old[index], _OLD), (column.new[index], _NEW))):
        tall = max(share, 0.0) / top * (_HEIGHT - 2)
        left = index * _BAR_WIDTH + place * (_BAR_WIDTH / 2 - 0.5)
        yield f'<rect x="{left:.1f}" y="{_HEIGHT - tall:.1f}" width="5" height="{tall:.1f}" fill="{colour}"/>'
    yield "</g>"
