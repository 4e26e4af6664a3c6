"""Does the champion still see what it learned from, and is it still right? Production against evaluation. Pure."""

import heapq
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from ratchet.core.labels.shards import id_digest_of
from ratchet.core.rollout.feedback import Accuracy, accuracy_interval
from ratchet.core.rollout.payloads import LabelValue, Prediction
from ratchet.core.verdict import Reason


class MonitorPolicy(BaseModel):
    """What drift_monitor looks at, and when it calls serving quality bad (configs/policies/monitor.yaml)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    window_s: float = Field(86_400, gt=0)
    """How far back it looks: a day holds each hour's users once."""
    accuracy_loss_max: float = Field(0.05, ge=0, lt=1)
    """How much lower than in evaluation the accuracy in production may be, as a share of requests."""
    confidence: float = Field(0.99, gt=0.5, lt=1)
    """Of the interval of the accuracy in production; all of it must lie below what is allowed to be called bad."""
    num_known_min: int = Field(30, gt=0)
    """Answers with a true label below which nothing is said."""


class ServedRow(NamedTuple):
    """One instance that was answered."""

    features: tuple[float, ...]
    """Of a single vector input; empty where there are `inputs`."""
    label: LabelValue
    """As the model said."""
    inputs: Mapping[str, Any] | None = None
    """Name to value, as the payload log keeps it."""
    probability: float | None = None
    """Of the answer; None of a number."""


class Gathered(NamedTuple):
    """What a pass over the payload log leaves in memory."""

    rows: list[ServedRow]
    """Of the model asked for, at most as many as asked for, drawn by a digest: always the same of the same log."""
    answered: list[Prediction]
    """Of any model: those that feedback names, without features: a day may hold many."""
    num_requests: int
    """Of the model asked for."""


def gather(
    predictions: Iterable[Prediction], *, model_digest: str, named: frozenset[str], num_rows_max: int
) -> Gathered:
    """One pass in bounded memory. named: ids of the requests that have feedback. A request logged twice counts once."""
    drawn: list[tuple[int, str, int, ServedRow]] = []
    places: set[tuple[str, int]] = set()
    answered: list[Prediction] = []
    num_requests = 0
    for prediction in predictions:
        if prediction.request_id in named:
            answered.append(prediction.model_copy(update={"features": (), "inputs": ()}))
        if prediction.model_digest != model_digest:
            continue
        num_requests += 1
        for instance, row in zip(prediction.numbers, _rows_of(prediction), strict=True):
            place = (prediction.request_id, instance)
            if place in places:
                continue
            places.add(place)
            # A heap gives up its least first, so the digests are negative: the row of the largest digest goes.
            heapq.heappush(drawn, (-id_digest_of(f"{place[0]}/{instance}"), *place, row))
            if len(drawn) > num_rows_max:
                _, *gone, _ = heapq.heappop(drawn)
                places.discard((gone[0], gone[1]))
    rows = [row for *_, row in sorted(drawn, key=lambda one: (-one[0], one[1], one[2]))]
    return Gathered(rows, answered, num_requests)


def _rows_of(prediction: Prediction) -> Iterator[ServedRow]:
    probabilities = prediction.probabilities or (None,) * len(prediction.labels)
    if prediction.inputs:
        for inputs, label, probability in zip(prediction.inputs, prediction.labels, probabilities, strict=True):
            yield ServedRow((), label, inputs, probability)
        return
    for features, label, probability in zip(prediction.features, prediction.labels, probabilities, strict=True):
        yield ServedRow(features, label, None, probability)


class ServingQuality(NamedTuple):
    """How right the champion is in production, compared with its evaluation."""

    is_bad: bool
    value: float
    limit: float
    text: str

    @property
    def reason(self) -> Reason:
        return Reason(
            check="serving_quality", value=self.value, limit=self.limit, passed=not self.is_bad, text=self.text
        )


def judge_serving_quality(accuracy: Accuracy, *, evaluated: float | None, policy: MonitorPolicy) -> ServingQuality:
    """Bad only when the whole interval lies below what is allowed: too few labels say so, they accuse nobody.

    evaluated: accuracy on the test rows when the model passed its gate; None when the registry does not know it.
    """
    limit = 0.0 if evaluated is None else round(max(evaluated - policy.accuracy_loss_max, 0.0), 6)
    value = limit if accuracy.ratio is None else round(accuracy.ratio, 6)
    low, high = accuracy_interval(accuracy, confidence=policy.confidence)
    counted = f"right on {accuracy.num_right} of {accuracy.num_known} answers with a true label"
    if accuracy.num_known < policy.num_known_min:
        text = f"{counted}: too few to compare; {policy.num_known_min} are needed"
        return ServingQuality(False, value, limit, text)
    interval = f"{counted} ({low:.1%} to {high:.1%} at {policy.confidence:.0%})"
    if evaluated is None:
        return ServingQuality(False, value, limit, f"{interval}; its accuracy in evaluation is unknown")
    text = f"{interval}; {evaluated:.1%} in evaluation, at least {limit:.1%} is needed"
    return ServingQuality(high < limit, value, limit, text)
