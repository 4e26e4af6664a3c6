"""True labels that arrive after the prediction: what is accepted, and how often each model was right. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError
from scipy.special import ndtri

from ratchet.core.errors import DataRejected
from ratchet.core.payloads import Feedback, Prediction

ITEMS_MAX = 1_000
"""Of one request."""
_NEXT_STEP = "Correct it and send it again; nothing of this request was kept."


class Accuracy(BaseModel):
    """How often one model was right, as far as somebody told."""

    model_config = ConfigDict(frozen=True)

    num_known: int = 0
    """Instances whose true label is known."""
    num_right: int = 0

    @property
    def ratio(self) -> float | None:
        """0..1; None while nothing is known."""
        return self.num_right / self.num_known if self.num_known else None


class JoinedFeedback(BaseModel):
    model_config = ConfigDict(frozen=True)

    by_model: Mapping[str, Accuracy]
    """Digest to accuracy; a mirrored request counts for each model that answered it."""
    num_feedback: int
    """Instances that feedback names, each once."""
    num_unmatched: int
    """Of those: no logged prediction is known. The request was not sampled, is too old, or its id is wrong."""


def parse_feedback(body: Any, *, classes: Sequence[str], now: datetime) -> tuple[Feedback, ...]:
    """The items of a request body: one object `{"request_id", "instance", "label"}`, or `{"feedback": [object, …]}`.

    DataRejected names the first item that is wrong. `instance` counts from 0, which is what it is when it is left out.
    """
    items = body.get("feedback", [body]) if isinstance(body, dict) else None
    if not isinstance(items, list):
        raise DataRejected(f'The body must be {{"feedback": [{{"request_id", "instance", "label"}}, …]}}. {_NEXT_STEP}')
    if not 1 <= len(items) <= ITEMS_MAX:
        raise DataRejected(f"{len(items)} items of feedback; 1 to {ITEMS_MAX} are allowed. {_NEXT_STEP}")
    known = frozenset(classes)
    return tuple(
        parse_item(item, classes=known, now=now, where=f"feedback[{index}]") for index, item in enumerate(items)
    )


def parse_item(item: Any, *, classes: Iterable[str], now: datetime, where: str) -> Feedback:
    """One item; `where` goes into the error. The time is ours: when it arrived."""
    if not isinstance(item, dict) or "at" in item:
        raise DataRejected(f'{where} must be an object {{"request_id", "instance", "label"}}. {_NEXT_STEP}')
    try:
        feedback = Feedback.model_validate({**item, "at": now})
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        raise DataRejected(f"{where}: {field}: {first['msg']}. {_NEXT_STEP}") from None
    if feedback.label not in classes:
        known = ", ".join(sorted(classes)[:20])
        raise DataRejected(f"{where}: label is {feedback.label[:80]!r}; this task knows {known}. {_NEXT_STEP}")
    return feedback


def join_feedback(predictions: Iterable[Prediction], feedback: Iterable[Feedback]) -> JoinedFeedback:
    """How often each model was right. Of several items on one instance the last to arrive counts, of those that
    arrived at once the later in the sequence. A prediction that was logged twice counts once.

    Needs memory for the feedback and for one record of each prediction that it names, not for the other predictions.
    """
    truth = newest_labels(feedback)
    asked = frozenset(request_id for request_id, _ in truth)
    answers: dict[tuple[str, str], tuple[str, ...]] = {}
    for prediction in predictions:
        if prediction.request_id in asked:
            answers[prediction.request_id, prediction.model_digest] = prediction.labels
    known: dict[str, list[bool]] = {}
    matched = set()
    for (request_id, digest), labels in answers.items():
        for instance, label in enumerate(labels):
            if (place := (request_id, instance)) in truth:
                matched.add(place)
                known.setdefault(digest, []).append(truth[place] == label)
    return JoinedFeedback(
        by_model={digest: Accuracy(num_known=len(right), num_right=sum(right)) for digest, right in known.items()},
        num_feedback=len(truth),
        num_unmatched=len(truth) - len(matched),
    )


def newest_labels(feedback: Iterable[Feedback]) -> dict[tuple[str, int], str]:
    """(request id, instance) to the label that arrived last."""
    newest: dict[tuple[str, int], Feedback] = {}
    for item in feedback:
        place = (item.request_id, item.instance)
        if place not in newest or newest[place].at <= item.at:
            newest[place] = item
    return {place: item.label for place, item in newest.items()}


def accuracy_interval(accuracy: Accuracy, *, confidence: float) -> tuple[float, float]:
    """Two-sided interval (0..1) of the true accuracy; (0, 1) when nothing is known.

    Source: Wilson, "Probable inference, the law of succession, and statistical inference" (1927).
    """
    total = accuracy.num_known
    if not total:
        return 0.0, 1.0
    z = float(ndtri((1 + confidence) / 2))
    ratio = accuracy.num_right / total
    middle = ratio + z * z / (2 * total)
    half = z * (ratio * (1 - ratio) / total + z * z / (4 * total * total)) ** 0.5
    scale = 1 + z * z / total
    return max(0.0, (middle - half) / scale), min(1.0, (middle + half) / scale)
