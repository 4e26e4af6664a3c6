"""Do the labelers agree? One label for each example, and who disagrees with the others more than the policy allows."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

from pydantic import AwareDatetime, BaseModel, ConfigDict
from scipy.special import betaincinv


class Opinion(BaseModel):
    """What one labeler said of one example."""

    model_config = ConfigDict(frozen=True)

    id: str
    label: str
    labeler: str
    labeled_at: AwareDatetime
    shard: str


class LabelerRecord(BaseModel):
    """How often one labeler says something else than the others, on the examples that they share."""

    model_config = ConfigDict(frozen=True)

    labeler: str
    num_shared: int
    num_disagreed: int
    disagreement_lower_bound: float
    """The least rate (0..1) of disagreement that explains the count, at the confidence that was asked for."""

    @property
    def disagreement_ratio(self) -> float:
        return self.num_disagreed / self.num_shared if self.num_shared else 0.0


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


def ratio_lower_bound(*, num_hits: int, num_trials: int, confidence: float) -> float:
    """One-sided exact lower bound of a rate (0..1). 0 without hits.

    Source: Clopper & Pearson, "The use of confidence or fiducial limits" (1934): a quantile of Beta(k, n - k + 1).
    """
    if num_hits == 0:
        return 0.0
    return float(betaincinv(num_hits, num_trials - num_hits + 1, 1.0 - confidence))


def measure_agreement(
    opinions: Sequence[Opinion], known_label_by_id: Mapping[str, str], *, confidence: float
) -> tuple[LabelerRecord, ...]:
    """One record of each labeler, in the order of their names.

    An example counts as shared when its label is known from the parent version, or else when the other labelers of
    this batch have a majority on it. The confidence holds for all labelers together (Bonferroni).
    """
    by_id: dict[str, list[Opinion]] = defaultdict(list)
    for opinion in latest_opinions(opinions):
        by_id[opinion.id].append(opinion)
    shared: Counter[str] = Counter()
    disagreed: Counter[str] = Counter()
    for said in by_id.values():
        for opinion in said:
            others = [other.label for other in said if other.labeler != opinion.labeler]
            expected = known_label_by_id.get(opinion.id) or majority_of(others)
            if expected is not None:
                shared[opinion.labeler] += 1
                disagreed[opinion.labeler] += opinion.label != expected
    labelers = sorted({opinion.labeler for opinion in opinions})
    each = 1.0 - (1.0 - confidence) / max(1, len(labelers))
    return tuple(
        LabelerRecord(
            labeler=labeler,
            num_shared=shared[labeler],
            num_disagreed=disagreed[labeler],
            disagreement_lower_bound=ratio_lower_bound(
                num_hits=disagreed[labeler], num_trials=shared[labeler], confidence=each
            ),
        )
        for labeler in labelers
    )


def find_careless(
    opinions: Sequence[Opinion],
    known_label_by_id: Mapping[str, str],
    *,
    confidence: float,
    disagreement_ratio_max: float,
    num_shared_min: int,
    suspicion: Mapping[str, float] | None = None,
) -> tuple[LabelerRecord, ...]:
    """Labelers who disagree more than allowed, the worst first.

    The worst is set aside before the others are looked at again, so that nobody is blamed for disagreeing with
    someone careless. When two disagree with each other, `suspicion` (other evidence against a labeler, 0..1) says who
    is the worse; without any, both are named, for there is no witness.
    """
    suspicion = suspicion or {}
    careless: list[LabelerRecord] = []
    remaining = list(opinions)
    while True:
        over = [
            record
            for record in measure_agreement(remaining, known_label_by_id, confidence=confidence)
            if record.num_shared >= num_shared_min and record.disagreement_lower_bound > disagreement_ratio_max
        ]
        if not over:
            return tuple(careless)
        worst = max(_badness(record, suspicion) for record in over)
        named = [record for record in over if _badness(record, suspicion) == worst]
        careless += named
        gone = {record.labeler for record in named}
        remaining = [opinion for opinion in remaining if opinion.labeler not in gone]


def _badness(record: LabelerRecord, suspicion: Mapping[str, float]) -> tuple[float, float]:
    return suspicion.get(record.labeler, 0.0), record.disagreement_lower_bound


def _age(opinion: Opinion) -> tuple[AwareDatetime, str, str]:
    return opinion.labeled_at, opinion.shard, opinion.labeler
