"""What an evaluation shows: confusion, curves, residuals, parts, flips and regrets, as numbers. Pure.

Shape suffixes: N test rows, K classes.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ratchet.core.labels.answers import Answers
from ratchet.core.labels.schema import CategoryOutput, NumberOutput
from ratchet.core.models.calibration import NUM_BINS, bin_of, certainty_of
from ratchet.core.models.forgetting import FORGETTING, gain_on_old
from ratchet.core.models.gate import GateRows, outputs_of, part_losses
from ratchet.core.models.page.drawing import GainInterval, Series
from ratchet.core.models.paired import PairedDifference, gain_of_losses, paired_difference
from ratchet.core.models.slices.columns import AGES, SliceColumn
from ratchet.core.models.temperature import untempered
from ratchet.core.verdict import Verdict

_CURVE_POINTS = 100
_POINTS_MAX = 1_000
"""Of a scatter plot; a page of a million points helps nobody."""
_ROW_MIN = 5
"""Rows of a bin of probabilities that a curve shows."""
_FOUND = "found_slice:"
_CLASS = "slice:"


class Flip(NamedTuple):
    """Rows on which the champion said one thing and the challenger another."""

    before: str
    now: str
    num_rows: int
    num_gained: int
    """Of them now right, and wrong before."""
    num_lost: int


class Regret(NamedTuple):
    """A row on which the challenger is worse."""

    row: int
    size: float
    before: str
    now: str
    label: str


def both_of(rows: GateRows) -> list[tuple[str, Answers]]:
    """The models there are."""
    champion = [("champion", rows.champion)] if rows.champion is not None else []
    return [("challenger", rows.challenger), *champion]


def label_texts(rows: GateRows) -> list[str]:
    output = rows.output
    if isinstance(output, NumberOutput):
        return [f"{value:.6g}" for value in rows.targets.tolist()]
    names = np.array(output.classes, dtype=object)
    if isinstance(output, CategoryOutput):
        found: list[str] = names[rows.targets].tolist()
        return found
    return [", ".join(sorted(names[each > 0].tolist())) for each in rows.targets]


def confusion_of(rows: GateRows) -> tuple[tuple[str, ...], np.ndarray]:
    """Of a category: the classes, and rows by label (down) and the challenger's answer (across), (K, K)."""
    classes = rows.output_classes
    scores = rows.challenger.scores_BK
    assert scores is not None, "a category has probabilities"
    num = len(classes)
    counted = np.bincount(rows.targets * num + scores.argmax(axis=1), minlength=num * num)
    return tuple(classes), counted.reshape(num, num)


def roc_of(targets_N: np.ndarray, score_N: np.ndarray) -> tuple[list[float], list[float], list[float]]:
    """False and true positive rates and the score from which on they hold, of at most 100 places; targets: 1 or 0.

    Empty where all rows are of one class.
    """
    num_yes = int((targets_N == 1).sum())
    num_no = len(targets_N) - num_yes
    if not num_yes or not num_no:
        return [], [], []
    order = np.argsort(-score_N, kind="stable")
    yes, no = np.cumsum(targets_N[order] == 1), np.cumsum(targets_N[order] != 1)
    ends = np.flatnonzero(np.append(np.diff(score_N[order]) != 0, True))
    kept = ends[np.unique(np.linspace(0, len(ends) - 1, _CURVE_POINTS).astype(np.int64))]
    false, true = [0.0, *(no[kept] / num_no).tolist()], [0.0, *(yes[kept] / num_yes).tolist()]
    return false, true, [1.0, *score_N[order][kept].tolist()]


def precision_recall_of(targets_N: np.ndarray, score_N: np.ndarray) -> list[tuple[float, float]]:
    """Recall and precision of saying yes from a score on, for at most 100 scores; targets: 1 or 0. Empty where all rows
    are of one class.

    It is not interpolated between the scores: precision is not linear in recall (Davis & Goadrich, "The relationship
    between precision-recall and ROC curves", 2006).
    """
    false, true, _ = roc_of(targets_N, score_N)
    num_yes = int((targets_N == 1).sum())
    num_no = len(targets_N) - num_yes
    return [
        (recall, recall * num_yes / (recall * num_yes + rate * num_no))
        for rate, recall in zip(false[1:], true[1:], strict=True)
    ]


def roc_series(rows: GateRows) -> list[Series]:
    """Of two classes."""
    found = []
    for model, score_N in _second_class(rows):
        false, true, _ = roc_of(rows.targets, score_N)
        found.append(Series(model, list(zip(false, true, strict=True))))
    return [each for each in found if each.points]


def precision_recall_series(rows: GateRows) -> list[Series]:
    """Of two classes."""
    found = [Series(model, precision_recall_of(rows.targets, score_N)) for model, score_N in _second_class(rows)]
    return [each for each in found if each.points]


def _second_class(rows: GateRows) -> list[tuple[str, np.ndarray]]:
    """(N,) its probability, by each model that knows the same two classes."""
    classes, found = rows.output_classes, []
    for model, answers in both_of(rows):
        known = classes if model == "challenger" else rows.champion_classes or classes
        if len(classes) == 2 and tuple(known) == tuple(classes) and answers.scores_BK is not None:
            found.append((model, answers.scores_BK[:, 1]))
    return found


def calibration_series(rows: GateRows) -> list[Series]:
    """How often each model is right, by how sure it is; and the challenger without its temperature."""
    assert not isinstance(rows.output, NumberOutput), "a number has no probabilities"
    own = untempered(rows.challenger, rows.temperature, rows.output)
    more = [("untempered", own)] if own is not None else []
    found = []
    for model, answers in [*both_of(rows), *more]:
        known = rows.champion_classes or rows.output_classes if model == "champion" else rows.output_classes
        certainty = certainty_of(answers, rows.targets, rows.output, classes=known)
        if certainty is None:
            continue
        certain, right = certainty.probability_ND.ravel(), certainty.right_ND.ravel()
        bin_N = bin_of(certain)
        bins = [bin_N == each for each in range(NUM_BINS)]
        points = [(float(certain[each].mean()), float(right[each].mean())) for each in bins if each.sum() >= _ROW_MIN]
        found.append(Series(model, points))
    return found


def residual_series(rows: GateRows) -> list[Series]:
    """Of numbers: the label, and the answer less the label; of many rows some, evenly spread."""
    kept = np.unique(np.linspace(0, len(rows.targets) - 1, _POINTS_MAX).astype(np.int64))
    targets = rows.targets[kept]
    return [
        Series(model, list(zip(targets.tolist(), (outputs_of(answers)[kept] - targets).tolist(), strict=True)))
        for model, answers in both_of(rows)[::-1]
    ]


def intervals_of(rows: GateRows, verdict: Verdict, *, confidence: float) -> list[GainInterval]:
    """The gain of the challenger on all rows, and on each part that the verdict names, with one-sided bounds as the
    verdict has them: of answers that are right or wrong Agresti and Min's (`paired_difference`), else Student's."""
    parts = part_losses(rows)
    if parts is None:
        return []
    losses, columns, _ = parts
    is_right_or_wrong = isinstance(rows.output, CategoryOutput)
    found = [_interval("all rows", losses, _gain(losses, confidence, is_right_or_wrong=is_right_or_wrong))]
    for reason in verdict.reasons:
        name = _part_named(reason.check)
        is_in_N = _rows_where(name, columns) if name else None
        if is_in_N is None or is_in_N.sum() < 2:
            continue
        losses_M = losses[is_in_N]
        if reason.check == FORGETTING:
            gain = gain_on_old(losses_M, confidence=confidence)
        else:
            gain = _gain(losses_M, confidence, is_right_or_wrong=reason.check.startswith(_CLASS))
        found.append(_interval(name, losses_M, gain)._replace(is_bad=not reason.passed))
    return found


def _part_named(check: str) -> str:
    """The words of the part that a check of the verdict judges; "" where it judges none."""
    if check == FORGETTING:
        return AGES[0]
    if check.startswith(_CLASS):
        return f'label is "{check.removeprefix(_CLASS)}"'
    return check.removeprefix(_FOUND) if check.startswith(_FOUND) else ""


def flips_of(rows: GateRows) -> list[Flip]:
    """Of categories and tags, the most frequent first."""
    if rows.champion is None or rows.champion.scores_BK is None:
        return []
    labels, before, now = (np.array(each) for each in (label_texts(rows), rows.champion.texts, rows.challenger.texts))
    differs = np.flatnonzero(before != now)
    counted: dict[tuple[str, str], list[int]] = {}
    for row in differs.tolist():
        counts = counted.setdefault((str(before[row]), str(now[row])), [0, 0, 0])
        counts[0] += 1
        counts[1] += int(now[row] == labels[row])
        counts[2] += int(before[row] == labels[row])
    flips = [Flip(*pair, *counts) for pair, counts in counted.items()]
    return sorted(flips, key=lambda flip: (-flip.num_rows, flip.before, flip.now))


def regrets_of(rows: GateRows, *, num: int) -> list[Regret]:
    """The rows that speak most against the challenger: by how much more the champion gave the right answer, or, without
    one, by how little the challenger did. Of numbers by the error."""
    sizes = _badness(rows, rows.challenger, rows.output_classes)
    if rows.champion is not None:
        sizes = sizes - _badness(rows, rows.champion, rows.champion_classes or rows.output_classes)
    worst = [row for row in np.argsort(-sizes, kind="stable")[:num].tolist() if sizes[row] > 0]
    labels, now = label_texts(rows), _answer_texts(rows.challenger)
    before = _answer_texts(rows.champion) if rows.champion is not None else [""] * len(now)
    return [Regret(row, float(sizes[row]), before[row], now[row], labels[row]) for row in worst]


def _answer_texts(answers: Answers) -> list[str]:
    """As `label_texts`: a number with as many digits as people read."""
    if answers.scores_BK is not None:
        return answers.texts
    return [f"{value:.6g}" for value in answers.labels.to_pylist()]


def _badness(rows: GateRows, answers: Answers, classes: Sequence[str]) -> np.ndarray:
    """(N,) how bad each answer is: 1 - the probability of the label, the error of a number, the share of wrong tags."""
    if answers.scores_BK is None:
        return np.asarray(np.abs(outputs_of(answers) - rows.targets))
    own = list(classes)
    places = [own.index(name) if name in own else -1 for name in rows.output_classes]
    scores = np.concatenate([answers.scores_BK, np.zeros((len(answers), 1))], axis=1)[:, places]
    if isinstance(rows.output, CategoryOutput):
        return np.asarray(1 - scores[np.arange(len(scores)), rows.targets])
    return np.asarray(np.abs(scores - rows.targets).mean(axis=1))


def _gain(losses: np.ndarray, confidence: float, *, is_right_or_wrong: bool) -> PairedDifference:
    if is_right_or_wrong:
        return paired_difference(losses < 0, losses > 0, confidence=confidence)
    return gain_of_losses(losses, confidence=confidence)


def _interval(name: str, losses: np.ndarray, gain: PairedDifference) -> GainInterval:
    return GainInterval(f"{name} ({len(losses)})", gain.difference, gain.lower, gain.upper, is_bad=False)


def _rows_where(text: str, columns: Sequence[SliceColumn]) -> np.ndarray | None:
    """(N,) bool of a part by its words: a condition, or two of them."""
    singles = {
        condition: column.code_N == code for column in columns for code, condition in enumerate(column.conditions)
    }
    if text in singles:
        return singles[text]
    for condition, is_in_N in singles.items():
        other = text.removeprefix(f"{condition} and ")
        if other != text and other in singles:
            return np.asarray(is_in_N & singles[other])
    return None
