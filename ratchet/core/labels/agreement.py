"""Do the labelers agree? One label for each example, and who disagrees with the others more than they do. Pure."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

import numpy as np
from pydantic import AwareDatetime, BaseModel, ConfigDict

from ratchet.core.labels.excess import LabelerRecord, each_confidence, not_judged, record_of


class Opinion(BaseModel):
    """What one labeler said of one example."""

    model_config = ConfigDict(frozen=True)

    id: str
    label: str
    labeler: str
    labeled_at: AwareDatetime
    shard: str


def latest_opinions(opinions: Sequence[Opinion]) -> tuple[Opinion, ...]:
    """One opinion of each labeler on each example: the latest; of two at one time, that of the later shard or line."""
    newest: dict[tuple[str, str], Opinion] = {}
    for opinion in opinions:
        place = (opinion.id, opinion.labeler)
        if place not in newest or _age(newest[place]) <= _age(opinion):
            newest[place] = opinion
    return tuple(newest.values())


def settle_labels(opinions: Sequence[Opinion]) -> dict[str, Opinion]:
    """The opinion that stands for each example: the majority's first. Ties are left out: nobody knows who is right."""
    by_id: dict[str, list[Opinion]] = defaultdict(list)
    for opinion in latest_opinions(opinions):
        by_id[opinion.id].append(opinion)
    settled = {}
    for example_id, said in by_id.items():
        label = majority_of([opinion.label for opinion in said])
        if label is not None:
            settled[example_id] = min((opinion for opinion in said if opinion.label == label), key=_age)
    return settled


def majority_of(labels: Sequence[str]) -> str | None:
    """The one most frequent label; None for a tie or for nothing."""
    ranked = Counter(labels).most_common(2)
    if not ranked or (len(ranked) == 2 and ranked[0][1] == ranked[1][1]):
        return None
    return ranked[0][0]


def measure_agreement(
    opinions: Sequence[Opinion],
    known_label_by_id: Mapping[str, str],
    *,
    confidence: float,
    num_judged_min: int,
    noise_by_id: Mapping[str, float] | None = None,
) -> tuple[LabelerRecord, ...]:
    """How each labeler disagrees with the others' labels of the same examples, in the order of their names.

    The label that the parent version knows is one voice, and so is each other labeler. With two or more of them on an
    example, what a labeler differs from them by is compared with what they differ by among themselves: the example is
    as hard for all. Against the known label alone it is compared with `noise_by_id` (0..1): how often accepted labels
    around the example differ. Two labelers alone who differ do not tell who is wrong. The confidence holds for all
    labelers together.
    """
    by_id: dict[str, list[Opinion]] = defaultdict(list)
    for opinion in latest_opinions(opinions):
        by_id[opinion.id].append(opinion)
    found: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for example_id, said in by_id.items():
        known = known_label_by_id.get(example_id)
        votes = Counter(opinion.label for opinion in said)
        votes.update([] if known is None else [known])
        noise = None if known is None or noise_by_id is None else noise_by_id.get(example_id)
        for opinion in said:
            pair = _differing(opinion.label, votes, noise)
            if pair is not None:
                found[opinion.labeler].append(pair)
    labelers = sorted({opinion.labeler for opinion in opinions})
    each = each_confidence(confidence, len(labelers))
    return tuple(_record(name, found[name], each, num_judged_min) for name in labelers)


def _differing(label: str, votes: Mapping[str, int], noise: float | None) -> tuple[float, float] | None:
    """What one voice differs from the others by, and what these differ by among themselves (0..1); None: unknown."""
    others = {name: number - (name == label) for name, number in votes.items()}
    num = sum(others.values())
    if num == 0:
        return None
    differs = 1.0 - others[label] / num
    if num == 1:
        return None if noise is None else (differs, noise)
    agreeing = sum(number * (number - 1) for number in others.values())
    return differs, 1.0 - agreeing / (num * (num - 1))


def _record(
    labeler: str, pairs: Sequence[tuple[float, float]], confidence: float, num_judged_min: int
) -> LabelerRecord:
    if len(pairs) < num_judged_min:
        return not_judged(labeler, len(pairs))
    differs_N, expected_N = np.array(pairs).T
    return record_of(labeler, differs_N, expected_N, confidence=confidence, compared_with="others")


def _age(opinion: Opinion) -> tuple[AwareDatetime, str, str]:
    return opinion.labeled_at, opinion.shard, opinion.labeler
