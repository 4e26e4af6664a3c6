"""The parts of an evaluation's page, as markup with all text escaped. Pure.

Examples are named here by their ids, and not in the verdict: an erasure finds the page by the id and replaces it whole
(`erasure.page_without`), so that whatever else stands beside an id goes with it.
"""

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from ratchet.core.labels.answers import label_text
from ratchet.core.labels.findings import PAGE_ID_CHARS_MAX
from ratchet.core.labels.schema import CategoryOutput, NumberOutput
from ratchet.core.models.cases import PinnedCase
from ratchet.core.models.evaluation import EvaluationPolicy
from ratchet.core.models.gate import GateRows
from ratchet.core.models.page.drawing import STYLE, draw_forest, draw_lines, draw_points
from ratchet.core.models.page.shown import (
    calibration_series,
    confusion_of,
    flips_of,
    intervals_of,
    precision_recall_series,
    regrets_of,
    residual_series,
    roc_series,
)
from ratchet.core.models.serving_budget import p99_bound_of, p99_of
from ratchet.core.verdict import Verdict
from wire.printable import printable

CLASSES_MAX = 30
"""Of a table of confusions; more do not fit a screen."""
_FLIPS_MAX = 12
_REGRETS_MAX = 12
_INPUT_CHARS = 120
_TEXT_TYPES = (str, int, float, bool)


class JudgedRows(NamedTuple):
    """What was judged, with what only a page shows."""

    rows: GateRows
    ids: Sequence[str]
    """(N,) of the test rows."""
    inputs: pa.Table
    """(N,)"""
    cases: Sequence[PinnedCase]
    policy: EvaluationPolicy


def render_parts(judged: JudgedRows, verdict: Verdict) -> dict[str, str]:
    """The parts of the page by name; no part where it has nothing to show."""
    if not len(judged.rows.targets):
        return {}
    whole = {
        "style": f"<style>{STYLE}</style>",
        "parts": _forest(judged, verdict),
        "answers": _answers(judged.rows),
        "server": _served(judged),
        "flips": _flips(judged.rows),
        "cases": _cases(judged),
        "regrets": _regrets(judged),
    }
    return {name: markup for name, markup in whole.items() if markup}


def _forest(judged: JudgedRows, verdict: Verdict) -> str:
    rows = intervals_of(judged.rows, verdict, confidence=judged.policy.confidence)
    if not rows:
        return ""
    drawn = draw_forest(rows, limit=-judged.policy.slice_loss_max, unit="gain of the challenger by part")
    return (
        f"<h2>Where it gained and lost</h2><p>The gain of the challenger on the rows of each part that the verdict "
        f"names (number of rows), with {judged.policy.confidence:.0%} bounds on each side.</p>{drawn}"
    )


def _answers(rows: GateRows) -> str:
    legend = '<p><span class="challenger-ink">■ challenger</span>'
    legend += ' <span class="champion-ink">■ champion</span></p>' if rows.champion is not None else "</p>"
    if isinstance(rows.output, NumberOutput):
        drawn = draw_points(residual_series(rows), across="label", up="answer less label")
        return f"<h2>Residuals</h2>{legend}{drawn}"
    curves = draw_lines(calibration_series(rows), across="probability of the answer", up="share right", has_ideal=True)
    if rows.temperature != 1:
        legend += f"<p>Dotted: the challenger without its temperature of {rows.temperature:g}.</p>"
    if not isinstance(rows.output, CategoryOutput):
        return f"<h2>Calibration</h2><p>Of each tag's yes or no.</p>{legend}{curves}"
    roc = roc_series(rows)
    if roc:
        curves += draw_lines(roc, across="false positive rate", up="true positive rate", has_ideal=True)
        curves += draw_lines(precision_recall_series(rows), across="recall", up="precision", has_ideal=False)
    title = "Calibration, ROC and precision-recall curve" if roc else "Calibration"
    return f"{_confusion(rows)}<h2>{title}</h2>{legend}{curves}"


def _served(judged: JudgedRows) -> str:
    """What each look at the model server saw; the verdict has the best of them."""
    seen, confidence = judged.rows.serving, judged.policy.confidence
    if seen is None:
        return ""
    looks = [
        (
            f"{len(times):,}",
            f"{float(np.median(times)):.1f}",
            f"{p99_of(times):.1f}",
            f"{p99_bound_of(times, confidence):.1f}",
            f"{max(times):.1f}",
        )
        for times in seen.looks_ms
    ]
    starts = ", ".join(f"{load_s:.1f} s" for load_s in seen.loads_s)
    memory = f"{seen.memory_mb:.0f} MB of memory" if seen.memory_mb is not None else "memory is not known"
    load = f"Milliseconds of requests of one row, at {judged.policy.serving.requests_per_s:g} a second."
    head = ("requests", "median", "99th percentile", f"at least ({confidence:.0%})", "longest")
    return (
        f"<h2>In the model server</h2><p>Ready after {starts}; {memory}. {load}</p>{_table(head, looks)}"
        f"<p>{_text(seen.problem)}</p>"
    )


def _confusion(rows: GateRows) -> str:
    classes, counts = confusion_of(rows)
    if len(classes) > CLASSES_MAX:
        wrong = [
            (int(counts[label, answer]), classes[label], classes[answer])
            for label in range(len(classes))
            for answer in range(len(classes))
            if label != answer and counts[label, answer]
        ]
        worst = [(label, answer, str(num)) for num, label, answer in sorted(wrong, key=lambda each: -each[0])[:20]]
        return "<h2>What the challenger confuses most</h2>" + _table(("label", "answer", "rows"), worst)
    head = "".join(f"<th>{_text(name)}</th>" for name in classes)
    lines = []
    for label, name in enumerate(classes):
        total = max(1, int(counts[label].sum()))
        cells = "".join(
            f'<td class="number" style="background:color-mix(in srgb, var(--{"one" if label == answer else "bad"}) '
            f'{counts[label, answer] / total:.0%}, transparent)">{int(counts[label, answer])}</td>'
            for answer in range(len(classes))
        )
        lines.append(f"<tr><th>{_text(name)}</th>{cells}</tr>")
    return (
        "<h2>Confusion of the challenger</h2><p>Labels down, answers across.</p>"
        f'<div style="overflow:auto"><table><thead><tr><th></th>{head}</tr></thead><tbody>{"".join(lines)}</tbody>'
        "</table></div>"
    )


def _flips(rows: GateRows) -> str:
    flips = flips_of(rows)
    if not flips:
        return ""
    shown = [
        (flip.before or "(none)", flip.now or "(none)", str(flip.num_rows), str(flip.num_gained), str(flip.num_lost))
        for flip in flips[:_FLIPS_MAX]
    ]
    more = f"<p>And {len(flips) - _FLIPS_MAX} other changes.</p>" if len(flips) > _FLIPS_MAX else ""
    head = ("champion", "challenger", "rows", "now right", "was right")
    return f"<h2>What flipped</h2>{_table(head, shown)}{more}"


def _cases(judged: JudgedRows) -> str:
    answers = judged.rows.cases
    if answers is None:
        return ""
    by_name = {case.name: case for case in judged.cases}
    before = answers.champion_right_C
    shown = [
        (
            name,
            by_name[name].id,
            label_text(by_name[name].row["label"]),
            "–" if before is None else _mark(bool(before[place])),
            _mark(bool(answers.challenger_right_C[place])),
            by_name[name].reason,
        )
        for place, name in enumerate(answers.names)
    ]
    return f"<h2>Pinned cases</h2>{_table(('case', 'id', 'label', 'champion', 'challenger', 'why'), shown)}"


def _regrets(judged: JudgedRows) -> str:
    regrets = regrets_of(judged.rows, num=_REGRETS_MAX)
    if not regrets:
        return ""
    shown = [
        (judged.ids[each.row], each.label, each.before or "–", each.now, f"{each.size:.3g}", _inputs(judged, each.row))
        for each in regrets
    ]
    head = ("example", "label", "champion", "challenger", "worse by", "inputs")
    return f"<h2>What speaks most against the challenger</h2>{_table(head, shown)}"


def _inputs(judged: JudgedRows, row: int) -> str:
    """What people can read of a row."""
    values: Mapping[str, Any] = judged.inputs.slice(row, 1).to_pylist()[0]
    told = [f"{name}: {value}" for name, value in values.items() if isinstance(value, _TEXT_TYPES)]
    return printable("; ".join(told), chars_max=_INPUT_CHARS)


def _mark(is_right: bool) -> str:
    return "✓" if is_right else "✗"


def _table(head: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    columns = "".join(f"<th>{escape(name)}</th>" for name in head)
    body = "\n".join(f"<tr>{''.join(f'<td>{_text(cell)}</td>' for cell in line)}</tr>" for line in lines)
    return f"<table><thead><tr>{columns}</tr></thead><tbody>{body}</tbody></table>"


def _text(value: str) -> str:
    return escape(printable(value, chars_max=PAGE_ID_CHARS_MAX))
