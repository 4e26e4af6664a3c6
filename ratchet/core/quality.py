"""May these labels teach a model? The decision, given what was measured. Pure: `components/validate` measures."""

from collections.abc import Iterable, Mapping, Sequence

from pydantic import BaseModel, ConfigDict, Field

from ratchet.core.agreement import LabelerRecord, ratio_lower_bound
from ratchet.core.printable import printable
from ratchet.core.verdict import Reason

_REASON_CHARS_MAX = 600
"""An excerpt of 200 characters, the key and the next step."""


class QualityPolicy(BaseModel):
    """What a batch of labels must hold (configs/policies/quality.yaml); its digest goes into every run."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    bad_row_ratio_max: float = Field(0.0, ge=0, le=1)
    """Share of rows that may break one rule (type, range, missing). 0: tools that write one wrong row write more."""
    rejected_shard_ratio_max: float = Field(0.5, ge=0, le=1)
    """Share of shards that could not be read at all. Above it the labeling tool is broken, not one file of it."""
    duplicate_ratio_max: float = Field(0.05, ge=0, le=1)
    """Share of examples with exactly the features of another id in the same split: they count twice in the loss."""
    leaked_ratio_max: float = Field(0.01, ge=0, le=1)
    """Share of examples with exactly the features of another id across train and val or test: they flatter the gate."""
    confidence: float = Field(0.99, gt=0.5, lt=1)
    """That no labeler is named by chance, over all labelers of a batch together, one check at a time."""
    disagreement_ratio_max: float = Field(0.10, ge=0, lt=1)
    """Share of shared examples on which a labeler may differ from the others. Careful people differ on 1 to 5 %."""
    num_shared_min: int = Field(20, ge=1)
    """Shared examples from which on a labeler is judged: with fewer, even 3 of 10 may be bad luck."""
    overlap_required: bool = False
    """Whether a labeler with fewer shared examples is refused. Needs a tool that hands out examples twice."""
    contradicted_ratio_max: float | None = Field(0.15, ge=0, lt=1)
    """Share of a labeler's labels that their nearest neighbours contradict. None where distance of features means
    nothing. Clean digits show 2 to 9 %, digits with a third of the labels wrong 24 to 29 %."""
    num_neighbours: int = Field(5, ge=1)
    num_against: int = Field(3, ge=1)
    """So many of the neighbours must agree on one other label."""
    num_noise_rows_min: int = Field(100, ge=10)
    """Examples from which on neighbours are near enough to say anything."""


class RejectedShard(BaseModel):
    """A label shard that could not be read, and why."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    key: str
    reason: str

    @classmethod
    def of(cls, key: str, reason: object) -> "RejectedShard":
        """With the reason cut to what a verdict and a page can show."""
        return cls(key=key, reason=printable(str(reason), chars_max=_REASON_CHARS_MAX))


class Count(BaseModel):
    """How many of so many broke one rule, and in which shards."""

    model_config = ConfigDict(frozen=True)

    check: str
    rule: str
    """The rule, as the end of "12 of 900 rows break: …"."""
    num_bad: int
    num_rows: int
    shards: tuple[str, ...] = ()

    @property
    def bad_ratio(self) -> float:
        return self.num_bad / self.num_rows if self.num_rows else 0.0


class Evidence(BaseModel):
    """Everything that was measured of one batch."""

    model_config = ConfigDict(frozen=True)

    num_new: int
    """Examples that the parent version does not hold."""
    shards_by_labeler: Mapping[str, tuple[str, ...]]
    """The shards that hold at least one label of a labeler. Shards are immutable: they are refused whole."""
    rejected: tuple[RejectedShard, ...] = ()
    row_counts: tuple[Count, ...]
    duplicates: Count
    leaks: Count
    careless: tuple[LabelerRecord, ...] = ()
    agreement: tuple[LabelerRecord, ...]
    contradicted_by_labeler: Mapping[str, tuple[int, int]] = {}
    """Labeler to (contradicted, judged) examples; empty when there are too few to say."""

    @property
    def shards(self) -> tuple[str, ...]:
        """Every shard of the batch that could be read."""
        return tuple(sorted({shard for shards in self.shards_by_labeler.values() for shard in shards}))


class Decision(BaseModel):
    """Whether the batch may teach, why, and which label shards to leave out from now on."""

    model_config = ConfigDict(frozen=True)

    is_accepted: bool
    reasons: tuple[Reason, ...]
    quarantined: tuple[str, ...]


def decide_quality(evidence: Evidence, policy: QualityPolicy) -> Decision:
    """Judge a batch. Shards that cannot be read are left out whatever the rest is like; others only when refused."""
    judged = [
        _judge_size(evidence),
        _judge_rejected(evidence, policy),
        *(_judge_count(count, policy.bad_row_ratio_max) for count in evidence.row_counts),
        _judge_count(evidence.duplicates, policy.duplicate_ratio_max),
        _judge_count(evidence.leaks, policy.leaked_ratio_max),
        *_judge_agreement(evidence, policy),
        *_judge_noise(evidence, policy),
    ]
    blamed = {shard for reason, shards in judged if not reason.passed for shard in shards}
    unreadable = {rejected.key for rejected in evidence.rejected}
    return Decision(
        is_accepted=all(reason.passed for reason, _ in judged),
        reasons=tuple(reason for reason, _ in judged),
        quarantined=tuple(sorted(blamed | unreadable)),
    )


Judged = tuple[Reason, Sequence[str]]
"""A reason, and the shards to blame should it not have passed."""


def _judge_size(evidence: Evidence) -> Judged:
    """There must be something to read. All of it may be known already: then there is nothing new to learn wrong."""
    text = (
        f"{evidence.num_new} new examples in {len(evidence.shards)} readable label shards "
        f"by {len(evidence.shards_by_labeler)} labelers"
    )
    return Reason(check="size", value=evidence.num_new, limit=None, passed=bool(evidence.shards), text=text), ()


def _judge_rejected(evidence: Evidence, policy: QualityPolicy) -> Judged:
    num_rejected = len(evidence.rejected)
    num_shards = num_rejected + len(evidence.shards)
    ratio = num_rejected / num_shards if num_shards else 0.0
    text = f"{num_rejected} of {num_shards} label shards cannot be read"
    if evidence.rejected:
        text += f"; the first: {evidence.rejected[0].reason}"
    return _reason("shards", ratio, policy.rejected_shard_ratio_max, text), ()


def _judge_count(count: Count, limit: float) -> Judged:
    text = f"{count.num_bad} of {count.num_rows} {count.rule}"
    if count.num_bad:
        text += f" ({_listed(count.shards)})"
    return _reason(count.check, count.bad_ratio, limit, text), count.shards


def _judge_agreement(evidence: Evidence, policy: QualityPolicy) -> Iterable[Judged]:
    careless = {record.labeler: record for record in evidence.careless}
    for record in evidence.agreement:
        record = careless.get(record.labeler, record)
        shards = evidence.shards_by_labeler.get(record.labeler, ())
        yield _judge_labeler(record, is_careless=record.labeler in careless, policy=policy), shards


def _judge_labeler(record: LabelerRecord, *, is_careless: bool, policy: QualityPolicy) -> Reason:
    check, limit = f"agreement of {record.labeler}", policy.disagreement_ratio_max
    if record.num_shared < policy.num_shared_min:
        text = (
            f"labeler {record.labeler!r} shares {record.num_shared} examples with others, "
            f"too few to judge; the policy asks for {policy.num_shared_min}"
        )
        return Reason(check=check, value=None, limit=limit, passed=not policy.overlap_required, text=text)
    text = (
        f"labeler {record.labeler!r} disagrees with the others on {record.num_disagreed} of {record.num_shared} shared "
        f"examples ({record.disagreement_ratio:.1%}, at least {record.disagreement_lower_bound:.1%}); limit {limit:.1%}"
    )
    return Reason(
        check=check, value=round(record.disagreement_lower_bound, 6), limit=limit, passed=not is_careless, text=text
    )


def _judge_noise(evidence: Evidence, policy: QualityPolicy) -> Iterable[Judged]:
    limit = policy.contradicted_ratio_max
    if limit is None:
        return
    counts = evidence.contradicted_by_labeler
    each = 1.0 - (1.0 - policy.confidence) / max(1, len(counts))
    for labeler, (num_against, num_judged) in sorted(counts.items()):
        bound = ratio_lower_bound(num_hits=num_against, num_trials=num_judged, confidence=each)
        text = (
            f"{num_against} of {num_judged} labels of {labeler!r} are contradicted by their nearest neighbours "
            f"(at least {bound:.1%}); limit {limit:.1%}"
        )
        yield _reason(f"label noise of {labeler}", bound, limit, text), evidence.shards_by_labeler.get(labeler, ())


def _reason(check: str, value: float, limit: float, text: str) -> Reason:
    return Reason(check=check, value=round(value, 6), limit=limit, passed=value <= limit, text=text)


def _listed(shards: Sequence[str]) -> str:
    more = f" and {len(shards) - 3} more" if len(shards) > 3 else ""
    return ", ".join(shards[:3]) + more
