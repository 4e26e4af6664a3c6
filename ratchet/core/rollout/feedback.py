"""True labels that arrive after the prediction: what is accepted, and how often each model was right. Pure."""

import math
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict
from scipy.special import ndtri

from ratchet.core.errors import DataRejected
from ratchet.core.fields import parse_fields, refuse_unknown
from ratchet.core.labels.answers import is_right
from ratchet.core.labels.schema import CategoryOutput, NumberOutput, OutputSpec
from ratchet.core.lines import read_objects, split_lines
from ratchet.core.rollout.payloads import Feedback, LabelValue, Prediction
from wire.printable import listed
from wire.validation_text import found_text

ITEMS_MAX = 1_000
"""Of one request."""
_NEXT_STEP = "Correct it and send it again; nothing of this request was kept."
_EXPECTED = {
    "request_id": "a text of 1 to 256 characters: the `x-request-id` of the answer",
    "instance": "a whole number from 0 to 1,000,000",
}
_LABEL_EXPECTED = {
    "category": "a text of 1 to 256 characters: the name of a class, in quotes",
    "number": "a finite number",
    "tags": "a list of texts, each the name of a class, in quotes",
}
_CLASS_CHARS_MAX = 256
_STANDS_IN = "a label of any type"
"""While the other fields are read: what a label must be depends on the task."""


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


def parse_feedback(body: Any, *, output: OutputSpec, now: datetime) -> tuple[Feedback, ...]:
    """The items of a request body: one object `{"request_id", "instance", "label"}`, or `{"feedback": [object, …]}`.

    output: with all classes that there may be true labels of. DataRejected names the first item that is wrong.
    `instance` counts from 0, which is what it is when it is left out.
    """
    items = body.get("feedback", [body]) if isinstance(body, dict) else None
    if not isinstance(items, list):
        raise DataRejected(f'The body must be {{"feedback": [{{"request_id", "instance", "label"}}, …]}}. {_NEXT_STEP}')
    if not 1 <= len(items) <= ITEMS_MAX:
        raise DataRejected(f"{len(items)} items of feedback; 1 to {ITEMS_MAX} are allowed. {_NEXT_STEP}")
    return tuple(
        parse_item(item, output=output, now=now, where=f"feedback[{index}]") for index, item in enumerate(items)
    )


def parse_feedback_lines(data: bytes, *, output: OutputSpec, now: datetime, where: str) -> tuple[Feedback, ...]:
    """Every line of a file, each an item; DataRejected names the first that is wrong, or says that there is none."""
    items = tuple(
        parse_item(value, output=output, now=now, where=place)
        for place, value in read_objects(split_lines(data), where=where, next_step=_NEXT_STEP)
    )
    if not items:
        raise DataRejected(f"{where} holds no feedback. Push a file with at least one line.")
    return items


def parse_item(item: Any, *, output: OutputSpec, now: datetime, where: str) -> Feedback:
    """One item; `where` goes into the error. The time is ours: when it arrived."""
    if not isinstance(item, dict):
        raise DataRejected(
            f'{where} must be an object {{"request_id", "instance", "label"}}, found {found_text(item)}. {_NEXT_STEP}'
        )
    expected = {**_EXPECTED, "label": _LABEL_EXPECTED[output.type]}
    refuse_unknown(item, expected, where=where, next_step=_NEXT_STEP)
    fields = {**item, "at": now, **({"label": _STANDS_IN} if "label" in item else {})}
    feedback = parse_fields(Feedback, fields, expected=expected, where=where, next_step=_NEXT_STEP)
    return feedback.model_copy(update={"label": _parse_label(item["label"], output, where=where)})


def _parse_label(value: Any, output: OutputSpec, *, where: str) -> LabelValue:
    if not _is_of_type(value, output):
        must, found = _LABEL_EXPECTED[output.type], found_text(value)
        raise DataRejected(f"{where}: `label` must be {must}, found {found}. {_NEXT_STEP}")
    if isinstance(output, NumberOutput):
        low, high = output.range
        if not low <= value <= high:
            raise DataRejected(f"{where}: `label` is {value:g}, expected {low:g} to {high:g}. {_NEXT_STEP}")
        return float(value)
    if isinstance(output, CategoryOutput):
        _check_class(value, output.classes, "`label`", where=where)
        return str(value)
    for index, tag in enumerate(value):
        _check_class(tag, output.classes, f"`label[{index}]`", where=where)
    return tuple(dict.fromkeys(value))


def _is_of_type(value: Any, output: OutputSpec) -> bool:
    if isinstance(output, NumberOutput):
        return isinstance(value, int | float) and not isinstance(value, bool) and _is_finite(value)
    if isinstance(output, CategoryOutput):
        return isinstance(value, str) and 1 <= len(value) <= _CLASS_CHARS_MAX
    return isinstance(value, list) and all(isinstance(tag, str) for tag in value)


def _is_finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number that no float holds
        return False


def _check_class(name: str, classes: tuple[str, ...], field: str, *, where: str) -> None:
    if name not in classes:
        found = found_text(name)
        raise DataRejected(f"{where}: {field} must be one of {listed(classes)}, found {found}. {_NEXT_STEP}")


def join_feedback(
    predictions: Iterable[Prediction], feedback: Iterable[Feedback], *, tolerance: float | None = None
) -> JoinedFeedback:
    """How often each model was right. Of several items on one instance the last to arrive counts, of those that
    arrived at once the later in the sequence. A prediction that was logged twice counts once.

    tolerance: how far a number may lie from the true one; None: an answer of a number is neither right nor wrong, and
    its instance matches without being known.

    Needs memory for the feedback and for one record of each prediction that it names, not for the other predictions.
    """
    truth = newest_labels(feedback)
    asked = frozenset(request_id for request_id, _ in truth)
    answers: dict[tuple[str, str], dict[int, LabelValue]] = {}
    for prediction in predictions:
        if prediction.request_id in asked:
            numbered = dict(zip(prediction.numbers, prediction.labels, strict=True))
            answers[prediction.request_id, prediction.model_digest] = numbered
    known: dict[str, list[bool]] = {}
    matched = set()
    for (request_id, digest), labels in answers.items():
        for instance, label in labels.items():
            if (place := (request_id, instance)) in truth:
                matched.add(place)
                right = is_right(label, truth[place], tolerance=tolerance)
                known.setdefault(digest, []).extend(() if right is None else (right,))
    return JoinedFeedback(
        by_model={digest: Accuracy(num_known=len(right), num_right=sum(right)) for digest, right in known.items()},
        num_feedback=len(truth),
        num_unmatched=len(truth) - len(matched),
    )


def newest_labels(feedback: Iterable[Feedback]) -> dict[tuple[str, int], LabelValue]:
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
