"""What both revisions answered, joined by request id into QualityWindows. Pure: a join goes in, a join comes out.

Predictions arrive late, twice and out of order, and true labels long after them. The join remembers a bounded number
of requests for a bounded time; what it has forgotten is not counted again, however late its duplicate comes.
"""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Literal, NamedTuple

from ratchet.core.labels.answers import is_right
from ratchet.core.rollout.payloads import Feedback, LabelValue, Prediction
from ratchet.core.rollout.window import NUM_SCORE_BINS, QualityWindow

NUM_REQUESTS_MAX = 20_000
"""About 10 MB. At 100 requests/s that is the last 200 s: mirrored pairs are seconds apart."""
AGE_S_MAX = 900.0

Arm = Literal["stable", "canary"]


@dataclass(frozen=True)
class JoinedAnswers:
    """One request: the labels that each revision gave, and the true ones by instance, whichever came first."""

    at: datetime
    stable: tuple[LabelValue, ...] | None = None
    canary: tuple[LabelValue, ...] | None = None
    asked: int | None = None
    """Hash of the inputs, None while no answer is known: users may give several requests one id."""
    true_labels: Mapping[int, LabelValue] = field(default_factory=dict)


class Comparable(NamedTuple):
    """What the answers of two revisions can be compared on."""

    common_classes: frozenset[str] | None = None
    """What both revisions know, when they do not know the same classes: one cannot agree, or be right, about a class
    that it does not have, so answers and true labels of others are not compared."""
    tolerance: float | None = None
    """How far two numbers may lie apart and count as the same; None: numbers are not compared."""


_EVERYTHING = Comparable()


@dataclass(frozen=True)
class QualityJoin:
    """What is remembered from look to look."""

    stable_digest: str
    canary_digest: str
    began_at: datetime
    """Nothing earlier counts, nor anything that was forgotten since: whatever is at or before `began_at`."""
    by_request: Mapping[str, JoinedAnswers] = field(default_factory=dict)
    """In order of first arrival."""
    on: Comparable = _EVERYTHING

    def compares(self, labels: Iterable[LabelValue]) -> bool:
        return self.on.common_classes is None or self.on.common_classes.issuperset(_classes_in(labels))


def join_answers(
    join: QualityJoin, predictions: Iterable[Prediction], feedback: Iterable[Feedback]
) -> tuple[QualityJoin, QualityWindow | None]:
    """Take in what has arrived; gives what became known by it, None when nothing did.

    A request is one vote, however many instances it has: they come from one user and are no independent evidence. Its
    score is the mean of its top-class probabilities. True labels are counted by instance. Of different requests under
    one id the first counts.
    """
    by_request, counts = dict(join.by_request), Counter[str]()
    scores: dict[Arm, list[int]] = {"stable": [0] * NUM_SCORE_BINS, "canary": [0] * NUM_SCORE_BINS}
    for prediction in predictions:
        arm = _arm_of(join, prediction)
        if arm is None or prediction.at <= join.began_at or prediction.instances:
            continue  # where instances were erased, places no longer say which answers belong together
        before = by_request.get(prediction.request_id, JoinedAnswers(at=prediction.at))
        asked = _hash_of(prediction)
        if getattr(before, arm) is not None or before.asked not in (None, asked):
            continue
        after = replace(_with_answer(before, arm, prediction.labels), asked=asked)
        by_request[prediction.request_id] = after
        if prediction.probabilities:
            scores[arm][_bin_of(prediction.probabilities)] += 1
        if after.stable is not None and after.canary is not None and join.compares(after.stable + after.canary):
            counts.update(_count_agreed(after.stable, after.canary, join.on.tolerance))
        counts.update(_count_right(arm, prediction.labels, after.true_labels, join.on.tolerance))
    for fact in feedback:
        if not join.compares([fact.label]):
            continue
        counts.update(_take_in(by_request, fact, join.on.tolerance))
    window = QualityWindow(**counts, **{f"{arm}_scores": tuple(bins) for arm, bins in scores.items() if any(bins)})
    return _without_old(join, by_request), window if window != QualityWindow() else None


def _arm_of(join: QualityJoin, prediction: Prediction) -> Arm | None:
    arms: Mapping[str, Arm] = {join.stable_digest: "stable", join.canary_digest: "canary"}
    return arms.get(prediction.model_digest)


def _with_answer(before: JoinedAnswers, arm: Arm, labels: tuple[LabelValue, ...]) -> JoinedAnswers:
    return replace(before, stable=labels) if arm == "stable" else replace(before, canary=labels)


def _bin_of(probabilities: tuple[float, ...]) -> int:
    mean = sum(probabilities) / len(probabilities)
    return min(NUM_SCORE_BINS - 1, max(0, int(mean * NUM_SCORE_BINS)))


def _take_in(by_request: dict[str, JoinedAnswers], fact: Feedback, tolerance: float | None) -> Counter[str]:
    """A true label counts once for each revision that answered; the first to arrive stands."""
    answered = by_request.get(fact.request_id, JoinedAnswers(at=fact.at))
    if fact.instance in answered.true_labels:
        return Counter()
    new = {fact.instance: fact.label}
    by_request[fact.request_id] = replace(answered, true_labels={**answered.true_labels, **new})
    stable = _count_right("stable", answered.stable, new, tolerance)
    return stable + _count_right("canary", answered.canary, new, tolerance)


def _count_right(
    arm: Arm, labels: tuple[LabelValue, ...] | None, true_labels: Mapping[int, LabelValue], tolerance: float | None
) -> Counter[str]:
    answered = labels or ()
    judged = [
        is_right(answered[index], label, tolerance=tolerance)
        for index, label in true_labels.items()
        if index < len(answered)
    ]
    known = [right for right in judged if right is not None]
    return Counter({f"{arm}_known": len(known), f"{arm}_right": sum(known)})


def _count_agreed(
    stable: tuple[LabelValue, ...], canary: tuple[LabelValue, ...], tolerance: float | None
) -> Counter[str]:
    """One vote of a request; none when it holds answers that nobody can compare."""
    same = [is_right(new, old, tolerance=tolerance) for old, new in zip(stable, canary, strict=False)]
    if None in same:
        return Counter()
    return Counter(num_compared=1, num_agreed=int(all(same) and len(stable) == len(canary)))


def _classes_in(labels: Iterable[LabelValue]) -> Iterator[str]:
    for label in labels:
        yield from label if isinstance(label, tuple) else [label] if isinstance(label, str) else ()


def _hash_of(prediction: Prediction) -> int:
    """Equal for equal inputs, whatever their types."""
    if not prediction.inputs:
        return hash(prediction.features)
    return hash(json.dumps(prediction.inputs, sort_keys=True, default=dict))


def _without_old(join: QualityJoin, by_request: dict[str, JoinedAnswers]) -> QualityJoin:
    """Forget the oldest requests, and never again count what is as old as they are."""
    if not by_request:
        return join
    in_order = sorted(by_request.items(), key=lambda item: item[1].at)
    oldest_at = in_order[-1][1].at - timedelta(seconds=AGE_S_MAX)
    forgotten = list(in_order[:-NUM_REQUESTS_MAX])
    kept = in_order[-NUM_REQUESTS_MAX:]
    forgotten += [item for item in kept if item[1].at <= oldest_at]
    if not forgotten:
        return replace(join, by_request=by_request)
    began_at = max(join.began_at, max(answered.at for _, answered in forgotten))
    return replace(join, began_at=began_at, by_request={name: each for name, each in in_order if each.at > began_at})
