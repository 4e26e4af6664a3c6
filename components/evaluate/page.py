"""The page of an evaluation, and what KFP's own pages draw of it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ratchet.core.labels.schema import CategoryOutput
from ratchet.core.models.page.parts import CLASSES_MAX, JudgedRows, render_parts
from ratchet.core.models.page.shown import confusion_of, roc_of
from ratchet.core.reports import render_verdict
from ratchet.core.verdict import Verdict

_TAKEN_OVER = "<p>Taken over from an earlier run with the same inputs: the page of that run has the pictures.</p>"


def show(judged: Sequence[JudgedRows], verdict: Verdict, *, task: str, report_path: Path, classification: Any) -> None:
    """Write the page, and the matrix and the curve of a category. judged: nothing where the verdict was taken over."""
    sections = render_parts(judged[0], verdict) if judged else {"taken over": _TAKEN_OVER}
    title = f"{task}: challenger against champion"
    report_path.write_text(render_verdict(verdict, title=title, sections=sections))
    if judged:
        _log_classification(judged[0], classification)


def _log_classification(judged: JudgedRows, classification: Any) -> None:
    rows = judged.rows
    if not isinstance(rows.output, CategoryOutput) or not len(rows.targets):
        return
    classes, counts = confusion_of(rows)
    if len(classes) <= CLASSES_MAX:
        classification.log_confusion_matrix(list(classes), counts.tolist())
    scores = rows.challenger.scores_BK
    if len(classes) == 2 and scores is not None:
        false, true, at = roc_of(rows.targets, scores[:, 1])
        if false:
            classification.log_roc_curve(false, true, at)
