"""One number that makes a model's probabilities as true as its validation rows say they are. Pure.

Each probability p becomes p ** (1 / temperature), scaled to a sum of 1 again: of a softmax that is the same as dividing
the logits by the temperature, and it needs no logits, so it holds for trees and for a class of one's own too. Tags
stand alone: of each, the log of the odds is divided. The order of the probabilities stays, so no answer changes.
Source: Guo, Pleiss, Sun & Weinberger, "On Calibration of Modern Neural Networks" (2017), section 4.2.
Shape suffixes: B rows that are answered, N validation rows, K classes.
"""

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from ratchet.core.labels.answers import Answers, answers_of
from ratchet.core.labels.schema import OutputSpec, TagsOutput

ROWS_MIN = 50
"""Validation rows: by fewer the number moves by a fifth and more from one split to the next."""
_ROWS_MAX = 50_000
"""Rows that are looked at, evenly spread: they give the number to less than a hundredth."""
_TEMPERATURE_MAX = 20.0
"""And its inverse is the least. Beyond it a model knows nothing, or its labels are its inputs."""
_DIGITS = 4
"""That are kept: the last bits of a sum are another machine's own."""
_STEPS = 40
"""Halvings of the range: 2 ln(20) / 2^40 is far beyond the digits that are kept."""
_LEAST = np.finfo(np.float64).tiny
_SURE = float(np.nextafter(1.0, 0.0))


class Temperature(BaseModel):
    """What a training found; in the model's folder as calibration.json."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    temperature: float = Field(gt=0, allow_inf_nan=False)
    """More than 1: the model is surer than it is right."""


def temperature_in(data: bytes | None) -> float:
    """Of a calibration.json; 1 where there is none. ValueError for any other content."""
    return 1.0 if data is None else Temperature.model_validate_json(data).temperature


def with_temperature(scores_BK: np.ndarray, temperature: float, *, is_tags: bool) -> np.ndarray:
    """The probabilities of a model with this temperature; with 1 / temperature they are its own again."""
    if temperature == 1:
        return scores_BK
    if is_tags:
        return _chances(_log_odds(scores_BK) / temperature)
    return _shares(_logs(scores_BK) / temperature)


def untempered(answers: Answers, temperature: float, output: OutputSpec) -> Answers | None:
    """As the model itself gives them; None of one without a temperature."""
    if temperature == 1 or answers.scores_BK is None:
        return None
    own_BK = with_temperature(answers.scores_BK, 1 / temperature, is_tags=isinstance(output, TagsOutput))
    return answers_of(own_BK, output)


def fit_temperature(scores_NK: np.ndarray, targets: np.ndarray) -> Temperature:
    """The one that makes the labels most likely.

    targets: class indices (N,), or a 1 for each tag, (N, K). Rows that are all answered rightly would be most likely
    under no doubt at all; so a prior of the weight of one row holds the number near 1.
    """
    kept = np.unique(np.linspace(0, len(targets) - 1, min(len(targets), _ROWS_MAX)).astype(np.int64))
    scores_NK, targets = scores_NK[kept], targets[kept]
    is_tags = targets.ndim == 2
    logs_NK = _log_odds(scores_NK) if is_tags else _logs(scores_NK)
    wanted = float((logs_NK * targets).sum() if is_tags else logs_NK[np.arange(len(targets)), targets].sum())

    def slope(sharpness: float) -> float:
        """Of the loss by the inverse of the temperature, in which it is convex; so it has one zero."""
        expected_NK = _chances(logs_NK * sharpness) if is_tags else _shares(logs_NK * sharpness)
        return float((expected_NK * logs_NK).sum()) - wanted + 1 - 1 / sharpness

    low, high = -float(np.log(_TEMPERATURE_MAX)), float(np.log(_TEMPERATURE_MAX))
    for _ in range(_STEPS):
        middle = (low + high) / 2
        low, high = (low, middle) if slope(float(np.exp(middle))) > 0 else (middle, high)
    return Temperature(temperature=float(f"{np.exp(-(low + high) / 2):.{_DIGITS}g}"))


def _logs(scores: np.ndarray) -> np.ndarray:
    return np.asarray(np.log(np.clip(scores, _LEAST, None)))


def _log_odds(scores: np.ndarray) -> np.ndarray:
    from scipy.special import logit  # 0.5 s and 20 MiB, which a model server of anything but tags does without

    return np.asarray(logit(np.clip(scores, _LEAST, _SURE)))


def _chances(log_odds: np.ndarray) -> np.ndarray:
    from scipy.special import expit

    return np.asarray(expit(log_odds))


def _shares(logs: np.ndarray) -> np.ndarray:
    # The greatest becomes 1 before the sum: none overflows, and the sum is never 0.
    powers = np.exp(logs - logs.max(axis=-1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=-1, keepdims=True))
