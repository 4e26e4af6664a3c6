"""How right a model is in production, of all that is known: its own probabilities, and the true labels that arrived.
Pure. Shape suffixes: N answered instances, L of those with a true label.

Probabilities alone say how right a model expects to be (CBPE). They are wrong where the model is over-confident, and
they cannot see that what is true has changed. Labels alone say the truth of few. Together they give an interval that
is valid whatever the probabilities are worth, and shorter the more they are worth (PPI++).

All of it is about a fair draw: labels must have arrived independently of the answers, as those of an audit share do.
"""

from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple

import numpy as np
from scipy.special import stdtrit

from ratchet.core.labels.answers import is_right
from ratchet.core.rollout.feedback import Accuracy, accuracy_interval, newest_labels
from ratchet.core.rollout.payloads import Feedback, Prediction
from ratchet.core.verdict import Reason

NUM_ANSWERED_MIN = 100
"""Below it a mean of probabilities says little: of 100 that vary by 0.2 it moves by 4 points at 95 %."""
NUM_EACH_MIN = 10
"""Right and wrong answers among those with a label, below which no interval by the normal law is trusted: the rule of
n p and n (1 - p) over 10. Wilson's holds below it."""


class KnownAnswers(NamedTuple):
    """The answers of one model whose truth is known."""

    probability_L: np.ndarray
    """float64, 0..1, that the model gave its answer."""
    is_right_L: np.ndarray
    """bool."""


class AccuracyEstimate(NamedTuple):
    """The share of answers that are right."""

    source: Literal["nothing", "probabilities", "labels", "both"]
    value: float | None
    """None: cannot be known."""
    low: float
    high: float
    """0 and 1 where there is no interval."""
    text: str

    @property
    def reason(self) -> Reason:
        """It tells, and refuses nothing."""
        value = None if self.value is None else round(self.value, 6)
        return Reason(check="estimated_accuracy", value=value, limit=None, passed=True, text=self.text)


def known_answers(
    predictions: Iterable[Prediction], feedback: Iterable[Feedback], *, model_digest: str, tolerance: float | None
) -> KnownAnswers:
    """Each instance once. Answers without a probability are left out: numbers have none."""
    truth = newest_labels(feedback)
    found: dict[tuple[str, int], tuple[float, bool]] = {}
    for prediction in predictions:
        if prediction.model_digest != model_digest or not prediction.probabilities:
            continue
        rows = zip(prediction.numbers, prediction.labels, prediction.probabilities, strict=True)
        for instance, label, probability in rows:
            place = (prediction.request_id, instance)
            right = is_right(label, truth[place], tolerance=tolerance) if place in truth else None
            if right is not None:
                found[place] = (probability, right)
    pairs = list(found.values())
    return KnownAnswers(
        np.array([probability for probability, _ in pairs], dtype=np.float64),
        np.array([right for _, right in pairs], dtype=bool),
    )


def estimate_accuracy(
    probability_N: Sequence[float] | np.ndarray, known: KnownAnswers, *, confidence: float
) -> AccuracyEstimate:
    """The shortest honest answer. probability_N: of what was answered, a fair draw; those with a label may be in it.

    Source: Angelopoulos, Duchi & Zrnic, "PPI++: Efficient Prediction-Powered Inference" (2023), section 6.1: the mean;
    lambda by its equation for the optimum, cut to 0..1. CBPE: Kivimaki et al., arXiv 2407.08649 (2024).
    """
    expected_N, right_L = np.asarray(probability_N, dtype=np.float64), known.is_right_L
    num, num_known = len(expected_N), len(right_L)
    num_right = int(right_L.sum())
    has_probabilities = num >= NUM_ANSWERED_MIN
    if not num_known:
        return _of_probabilities(expected_N) if has_probabilities else _nothing(num)
    low, high = accuracy_interval(Accuracy(num_known=num_known, num_right=num_right), confidence=confidence)
    labels_alone = f"{num_right} of {num_known} answers with a true label are right"
    if not has_probabilities or min(num_right, num_known - num_right) < NUM_EACH_MIN:
        text = f"accuracy {low:.1%} to {high:.1%} at {confidence:.0%}: {labels_alone}"
        return AccuracyEstimate("labels", num_right / num_known, low, high, text)
    value, half = _joined(expected_N, known, confidence=confidence)
    both_low, both_high = max(0.0, value - half), min(1.0, value + half)
    text = (
        f"accuracy {both_low:.1%} to {both_high:.1%} at {confidence:.0%}, of {num_known} true labels and the "
        f"probabilities of {num} answers; of the labels alone {low:.1%} to {high:.1%}"
    )
    return AccuracyEstimate("both", min(max(value, 0.0), 1.0), both_low, both_high, text)


def _nothing(num: int) -> AccuracyEstimate:
    text = (
        f"accuracy cannot be known: no true label has arrived, and {num} answers have a probability; "
        f"{NUM_ANSWERED_MIN} are needed"
    )
    return AccuracyEstimate("nothing", None, 0.0, 1.0, text)


def _of_probabilities(expected_N: np.ndarray) -> AccuracyEstimate:
    """No interval: whether the probabilities are true is what nobody knows here."""
    value = float(expected_N.mean())
    text = (
        f"the model expects an accuracy of {value:.1%} by its probabilities of {len(expected_N)} answers. That is no "
        "evidence: no true label has arrived, and probabilities do not show that what is true has changed"
    )
    return AccuracyEstimate("probabilities", value, 0.0, 1.0, text)


def _joined(expected_N: np.ndarray, known: KnownAnswers, *, confidence: float) -> tuple[float, float]:
    """(estimate, half of its interval)."""
    num, num_known = len(expected_N), len(known.is_right_L)
    expected_L, right_L = known.probability_L, known.is_right_L.astype(np.float64)
    spread = float(np.concatenate([expected_N, expected_L]).var())
    covariance = float(np.cov(right_L, expected_L, ddof=1)[0, 1])
    # Probabilities that say nothing, or the contrary, are not listened to: then it is the mean of the labels.
    weight = min(max(covariance / (spread * (1 + num_known / num)), 0.0), 1.0) if spread > 0 else 0.0
    rest_L = right_L - weight * expected_L
    value = weight * float(expected_N.mean()) + float(rest_L.mean())
    variance = weight**2 * float(expected_N.var(ddof=1)) / num + float(rest_L.var(ddof=1)) / num_known
    return value, float(stdtrit(num_known - 1, (1 + confidence) / 2)) * variance**0.5
