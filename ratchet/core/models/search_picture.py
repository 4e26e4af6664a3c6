"""The trials of a search, as a part of the page of its training: a picture and a table. Pure."""

from collections.abc import Sequence
from html import escape

from ratchet.core.models.search import SearchJournal, SearchTrial

_WIDTH, _HEIGHT, _LEFT, _EDGE = 640, 180, 84, 24
_RADIUS, _BEST_RADIUS = 4, 7
_LABELS_MAX = 10
"""Numbers below the picture: more would touch each other."""


def render_search(journal: SearchJournal) -> str:
    """journal: of a search that ended with a model."""
    best = journal.best
    won = f" The model is that of trial {best.number}." if best is not None else ""
    counts = ", ".join(
        f"{num} {state}"
        for state in ("complete", "pruned", "failed")
        if (num := sum(each.state == state for each in journal.trials))
    )
    return (
        f"<h2>Trials</h2><p>{len(journal.trials)} trials in {journal.spent_s:,.0f} s: {counts}.{won}</p>"
        f"{_render_picture(journal)}{_render_table(journal)}"
    )


def _render_picture(journal: SearchJournal) -> str:
    """A dot a trial: its lowest validation loss. Hollow: given up before its end."""
    measured = [(each, each.loss) for each in journal.trials if each.loss is not None]
    if not measured:
        return ""
    losses = [loss for _, loss in measured]
    low, high, num = min(losses), max(losses), max(2, len(journal.trials))
    best = journal.best
    parts = [_render_axis(low, _HEIGHT - _EDGE), _render_axis(high, _EDGE)] if high > low else []
    for trial, loss in measured:
        # Halves, because the span of two floats may be no float.
        share = (loss / 2 - low / 2) / (high / 2 - low / 2) if high / 2 > low / 2 else 0.5
        x = _x_of(trial.number, num)
        y = _HEIGHT - _EDGE - share * (_HEIGHT - 2 * _EDGE)
        is_best = best is not None and trial.number == best.number
        css = "second" if is_best else "first"
        fill = "currentColor" if trial.state == "complete" else "none"
        parts.append(
            f'<circle class="{css}" cx="{x:.1f}" cy="{y:.1f}" r="{_BEST_RADIUS if is_best else _RADIUS}" '
            f'style="fill:{fill};stroke:currentColor"><title>{escape(trial.text())}</title></circle>'
        )
    every = -(-num // _LABELS_MAX)
    for number in range(1, len(journal.trials) + 1, every):
        parts.append(f'<text x="{_x_of(number, num):.1f}" y="{_HEIGHT - 4}" text-anchor="middle">{number}</text>')
    label = "Lowest validation loss of each trial"
    return (
        f'<div>{label}; <span class="second">●</span> the model, ○ given up</div>'
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" width="{_WIDTH}" height="{_HEIGHT}" role="img" aria-label="{label}">'
        f"<title>{label}</title>{''.join(parts)}</svg>"
    )


def _x_of(number: int, num: int) -> float:
    return _LEFT + _EDGE + (number - 1) / (num - 1) * (_WIDTH - _LEFT - 2 * _EDGE)


def _render_axis(loss: float, y: int) -> str:
    return (
        f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH}" y1="{y}" y2="{y}"/>'
        f'<text x="{_LEFT - 6}" y="{y + 4}" text-anchor="end">{loss:.4g}</text>'
    )


def _render_table(journal: SearchJournal) -> str:
    names = list(dict.fromkeys(name for each in journal.trials for name in each.values))
    head = "".join(f"<th>{escape(name)}</th>" for name in ("trial", *names, "state", "epochs", "loss", "seconds"))
    rows = "".join(f"<tr>{_render_cells(each, names)}</tr>" for each in journal.trials)
    return f"<table><tr>{head}</tr>{rows}</table>"


def _render_cells(trial: SearchTrial, names: Sequence[str]) -> str:
    values = (trial.values.get(name) for name in names)
    drawn = (format(value, ".4g") if isinstance(value, float) else str(value) for value in values)
    loss = "" if trial.loss is None else f"{trial.loss:.4g}"
    state = f"{trial.state}: {trial.reason}" if trial.reason else trial.state
    cells = (str(trial.number), *drawn, state, str(len(trial.val_losses)), loss, f"{trial.seconds:.1f}")
    return "".join(f"<td>{escape(cell)}</td>" for cell in cells)
