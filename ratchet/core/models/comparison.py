"""Challenger against champion by any metric, on the same rows. Pure."""

from typing import TYPE_CHECKING

import numpy as np
from scipy.special import ndtr

from ratchet.core.models.metrics import MetricDifference, common_scores, compare
from ratchet.core.models.spending import check_spent
from ratchet.core.verdict import Reason

if TYPE_CHECKING:
    from ratchet.core.models.evaluation import EvaluationPolicy, PairedAnswers

_ONE_SPREAD = float(ndtr(1.0))
"""Confidence of a bound that is one standard error away."""


def check_metric(
    metric: str,
    targets: np.ndarray,
    challenger: np.ndarray,
    champion: np.ndarray,
    policy: "EvaluationPolicy",
    *,
    level: float | None = None,
) -> list[Reason]:
    """The difference that was seen, and the least that the rows leave possible. Where the rows do not give the metric a
    value, nothing is proved, and that refuses. level: as of `PairedAnswers`."""
    found = compare(metric, targets, challenger, champion, confidence=policy.confidence)
    if found is None:
        text = f"{metric} has no value on these {len(targets)} test rows: they are all of one class"
        return [Reason(check="gain", value=0, limit=policy.gain_min, passed=False, text=text)]
    both = f"{metric} of the challenger {found.challenger:.4g}, of the champion {found.champion:.4g}"
    return [
        Reason(
            check="gain",
            value=found.difference,
            limit=policy.gain_min,
            passed=found.difference >= policy.gain_min,
            text=f"{both}: {_gain_text(found.difference, found)}; at least {_gain_text(policy.gain_min, found)} is "
            "needed",
        ),
        Reason(
            check="non_inferiority",
            value=found.lower,
            limit=-policy.loss_max,
            passed=found.lower >= -policy.loss_max,
            text=f"the challenger's gain is at least {_gain_text(found.lower, found)} ({policy.confidence:.0%} bound); "
            f"limit {_gain_text(-policy.loss_max, found)}",
        ),
        *(_check_spent(metric, targets, challenger, champion, policy, level) if level is not None else ()),
    ]


def _check_spent(
    metric: str,
    targets: np.ndarray,
    challenger: np.ndarray,
    champion: np.ndarray,
    policy: "EvaluationPolicy",
    level: float,
) -> list[Reason]:
    """By the normal law: a thousand resamples say nothing of one in a million, but their spread is known."""
    near = compare(metric, targets, challenger, champion, confidence=_ONE_SPREAD)
    assert near is not None, "it had a value just now"
    spread, excess = near.difference - near.lower, near.difference + policy.loss_max
    chance = float(ndtr(-excess / spread)) if spread > 0 else float(excess <= 0)
    return [check_spent(chance, level=level, loss_max=policy.loss_max)]


def check_by_scores(
    answers: "PairedAnswers", labels_N: np.ndarray, common_N: np.ndarray, policy: "EvaluationPolicy"
) -> list[Reason]:
    """By a metric of probabilities: of the classes that both know, given that it is one of them."""
    assert answers.scores_NK is not None and answers.champion_scores_NK is not None, "metrics of probabilities"
    known = answers.champion_classes or answers.classes
    common = [name for name in answers.classes if name in known]
    place_of = {name: place for place, name in enumerate(common)}
    targets_N = np.array([place_of[name] for name in labels_N.tolist()])
    here, there = [list(answers.classes).index(name) for name in common], [list(known).index(name) for name in common]
    challenger = common_scores(answers.scores_NK[common_N], here)
    champion = common_scores(answers.champion_scores_NK[common_N], there)
    return check_metric(answers.metric, targets_N, challenger, champion, policy, level=answers.level)


def _gain_text(gain: float, found: MetricDifference) -> str:
    return f"{gain:+.1%} of the champion's" if found.is_share else f"{gain:+.4f}"
