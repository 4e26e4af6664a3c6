"""May these labels teach a model? `decide_quality`, given what was measured. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from ratchet.core.labels.excess import LabelerRecord
from ratchet.core.labels.measured import REASON_CHARS_MAX, Count, Measured
from ratchet.core.labels.reliability.page import reliability_text
from ratchet.core.labels.reliability.queued import queue_findings
from ratchet.core.labels.shards import Place
from ratchet.core.verdict import Reason
from wire.printable import listed, printable

AGREEMENT, LABEL_NOISE = "agreement of ", "label noise of "
"""How the names of the checks of one labeler begin."""
Judged = tuple[Reason, Sequence[Place]]
"""A reason, and the places to blame should it not have passed."""


class QualityPolicy(BaseModel):
    """What a batch of labels must hold (configs/policies/quality.yaml); its digest goes into every run."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    settled_by: Literal["newest", "consensus"] = "newest"
    """How opinions settle on a label. newest: the majority's label, and the newest correction of it. consensus: voices
    weigh by how far they agree with others. A single correction (`corrects`, a reviewer) stands either way."""
    bad_row_ratio_max: float = Field(0.0, ge=0, le=1)
    """Share of rows that may break one rule (type, range, missing). 0: tools that write one wrong row write more."""
    rejected_shard_ratio_max: float = Field(0.5, ge=0, le=1)
    """Share of shards that could not be read at all. Above it the labeling tool is broken, not one file of it."""
    duplicate_ratio_max: float = Field(0.05, ge=0, le=1)
    """Share of examples with exactly the features of another id in the same split, beyond what chance explains in a
    table of categories: they count twice in the loss."""
    leaked_ratio_max: float = Field(0.01, ge=0, le=1)
    """Share of examples with exactly the features of another id across train and val or test, beyond what chance
    explains: they flatter the gate."""
    near_text_similarity_min: float = Field(0.75, gt=0.5, le=1)
    """Share of common shingles (Jaccard, 0..1) from which on two texts are nearly the same. One other word of twenty
    leaves 0.8; of two mails of one newsletter half is the same, or less."""
    near_duplicate_ratio_max: float | None = Field(0.25, ge=0, le=1)
    """Share of new examples that are nearly those of another id in the same split. None: told, never refused. Real mail
    has 8 %."""
    near_leaked_ratio_max: float | None = Field(0.1, ge=0, le=1)
    """The same across train and val or test; real mail has 4 %."""
    outlier_ratio_max: float | None = Field(None, ge=0, le=1)
    """Share of rows with a value far from all others. None: told, never refused: a rare value may be a true one."""
    label_error_ratio_max: float | None = Field(None, ge=0, le=1)
    """Share of labels that are likely wrong by confident learning. None: told, never refused: a plain classifier takes
    a hard example for a wrong one too."""
    confidence: float = Field(0.99, gt=0.5, lt=1)
    """That no labeler is named by chance, over all labelers of a batch together, one check at a time."""
    disagreement_excess_max: float = Field(0.05, ge=0, lt=1)
    """By how much a labeler may differ more from the others than they differ among themselves on the same examples
    (shares, 0..1). Honest raters of a five-step scale, who agree on 40 % only, stay below 0.03."""
    paired_excess_max: float | None = Field(0.1, ge=0, lt=1)
    """The same for a labeler whose examples have one other opinion each: by how much more this labeler may differ from
    these partners than they differ from third labelers, on other examples (shares, 0..1). Wider, because one labeler's
    examples may be harder than another's. None: such a labeler is not judged."""
    num_shared_min: int = Field(20, ge=2)
    """Comparable labels from which on a labeler is judged, by either check: of 10, even 3 may be bad luck."""
    overlap_required: bool = False
    """Whether a labeler with fewer shared examples is refused. Needs a tool that hands out examples twice."""
    contradicted_excess_max: float | None = Field(0.03, ge=0, lt=1)
    """By how much more often a labeler's labels may be contradicted by their nearest neighbours than the labels of
    others at the same places (shares, 0..1). None where distance of features means nothing. Honest labels stay below at
    any noise; a third of wrong labels makes 0.2 and more."""
    num_neighbours: int = Field(7, ge=1)
    num_against: int = Field(4, ge=1)
    """So many of the neighbours must agree on one other label."""
    num_noise_rows_min: int = Field(100, ge=10)
    """Labels, accepted ones counted, from which on neighbours are near enough to say anything."""
    class_coverage_ratio_min: float = Field(1.0, ge=0, le=1)
    """Share of the task's classes that the first version must hold labels of. A model never answers a class that it has
    not seen, and no later gate would notice: it is tested on labels of the same classes."""


class QualityDecision(BaseModel):
    """Whether the batch may teach, why, and which label shards to leave out from now on."""

    model_config = ConfigDict(frozen=True)

    is_accepted: bool
    reasons: tuple[Reason, ...]
    quarantined: tuple[str, ...]
    """Whole shards: those that cannot be read, and those of which every labeler is to blame."""
    quarantined_rows: Mapping[str, tuple[str, ...]] = {}
    """Of the other shards: key to the labelers whose labels are left out."""
    why: Mapping[str, str] = {}
    """Key of each shard of these to the checks that blame it, in sentences."""


def decide_quality(measured: Measured, policy: QualityPolicy) -> QualityDecision:
    """Judge a batch. Shards that cannot be read are left out whatever the rest is like; others only when refused."""
    judged = [
        _judge_size(measured),
        _judge_rejected(measured, policy),
        *(_judge_count(count, policy.bad_row_ratio_max) for count in measured.row_counts),
        _judge_count(measured.duplicates, policy.duplicate_ratio_max),
        _judge_count(measured.leaks, policy.leaked_ratio_max),
        *_judge_findings(measured, policy),
        *_tell_reliability(measured),
        *_tell_queued(measured),
        *_judge_agreement(measured, policy),
        *_judge_noise(measured, policy),
        *_judge_coverage(measured, policy),
        *_tell_released(measured),
    ]
    blamed = {place for reason, places in judged if not reason.passed for place in places}
    whole, parts = split_places(blamed, measured.shards_by_labeler)
    unreadable = {rejected.key for rejected in measured.rejected}
    return QualityDecision(
        is_accepted=all(reason.passed for reason, _ in judged),
        reasons=tuple(reason for reason, _ in judged),
        quarantined=tuple(sorted(whole | unreadable)),
        quarantined_rows=parts,
        why=_why(judged, measured),
    )


def _why(judged: Sequence[Judged], measured: Measured) -> dict[str, str]:
    texts: dict[str, list[str]] = {}
    for reason, places in judged:
        for shard in {shard for shard, _ in places} if not reason.passed else ():
            texts.setdefault(shard, []).append(reason.text)
    told = {shard: printable("; ".join(found), chars_max=REASON_CHARS_MAX) for shard, found in texts.items()}
    return {**told, **{rejected.key: rejected.reason for rejected in measured.rejected}}


def split_places(
    blamed: Iterable[Place], shards_by_labeler: Mapping[str, Sequence[str]]
) -> tuple[set[str], dict[str, tuple[str, ...]]]:
    """The shards of which every labeler is blamed, and the blamed labelers of each other one."""
    labelers: dict[str, set[str]] = {}
    for labeler, shards in shards_by_labeler.items():
        for shard in shards:
            labelers.setdefault(shard, set()).add(labeler)
    named: dict[str, set[str]] = {}
    for shard, labeler in blamed:
        named.setdefault(shard, set()).add(labeler)
    whole = {shard for shard, names in named.items() if names >= labelers.get(shard, set())}
    return whole, {shard: tuple(sorted(named[shard])) for shard in sorted(named.keys() - whole)}


def _judge_size(measured: Measured) -> Judged:
    """There must be something to read. All of it may be known already: then there is nothing new to learn wrong."""
    text = (
        f"{measured.num_new} new examples in {len(measured.shards)} readable label shards "
        f"by {len(measured.shards_by_labeler)} labelers"
    )
    return Reason(check="size", value=measured.num_new, limit=None, passed=bool(measured.shards), text=text), ()


def _judge_rejected(measured: Measured, policy: QualityPolicy) -> Judged:
    num_rejected = len(measured.rejected)
    num_shards = num_rejected + len(measured.shards)
    ratio = num_rejected / num_shards if num_shards else 0.0
    text = f"{num_rejected} of {num_shards} label shards cannot be read"
    if measured.rejected:
        text += f"; the first: {measured.rejected[0].reason}"
    return _reason("shards", ratio, policy.rejected_shard_ratio_max, text), ()


def _judge_findings(measured: Measured, policy: QualityPolicy) -> Iterable[Judged]:
    """Without a limit of the policy they are told, and blame nobody."""
    limits = {
        "near duplicates": policy.near_duplicate_ratio_max,
        "near leakage": policy.near_leaked_ratio_max,
        "outliers": policy.outlier_ratio_max,
        "likely label errors": policy.label_error_ratio_max,
    }
    for finding in measured.findings:
        if finding.skipped:
            yield Reason(check=finding.count.check, value=None, limit=None, passed=True, text=finding.skipped), ()
        else:
            yield _judge_count(finding.count, limits.get(finding.count.check))


def _judge_count(count: Count, limit: float | None) -> Judged:
    text = f"{count.num_bad} of {count.num_rows} {count.rule}"
    if count.num_expected >= 1:
        text += f"; chance explains {count.num_expected:.0f} of them in a table like this"
    if count.num_bad:
        text += f" ({_listed(count.shards)})"
    return _reason(count.check, count.bad_ratio, limit, text), count.places


def _tell_reliability(measured: Measured) -> Iterable[Judged]:
    """No limit holds for it: how far honest people agree depends on the task."""
    if measured.reliability is not None:
        alpha = measured.reliability.krippendorff_alpha
        text = reliability_text(measured.reliability)
        value = None if alpha is None else alpha.value
        yield Reason(check="agreement beyond chance", value=value, limit=None, passed=True, text=text), ()


def _tell_queued(measured: Measured) -> Iterable[Judged]:
    for check, value, text in queue_findings(measured.queued):
        yield Reason(check=check, value=value, limit=None, passed=True, text=text), ()


def _judge_agreement(measured: Measured, policy: QualityPolicy) -> Iterable[Judged]:
    for record in measured.agreement:
        yield judge_agreement(record, policy), _places_of(measured, record.labeler)


def judge_agreement(record: LabelerRecord, policy: QualityPolicy) -> Reason:
    """Does this labeler differ from the others more than they differ among themselves?"""
    check, passes_unjudged = f"{AGREEMENT}{record.labeler}", not policy.overlap_required
    text = f"labeler {record.labeler!r} disagrees with the others on {record.ratio:.1%} of {record.num_judged} "
    limit: float | None = policy.disagreement_excess_max
    if record.compared_with == "partners":
        limit = policy.paired_excess_max
        text += (
            f"examples with two opinions each; these others disagree with third labelers on {record.expected_ratio:.1%}"
        )
    else:
        text += f"shared examples; {record.expected_ratio:.1%} is expected there"
    if limit is None:
        told = f"labeler {record.labeler!r} shares examples with one other labeler at a time, and is not judged by them"
        return Reason(check=check, value=None, limit=None, passed=passes_unjudged, text=told)
    unjudged = (
        f"labeler {record.labeler!r} shares {record.num_judged} comparable examples with others, "
        f"too few to judge; {policy.num_shared_min} are needed"
    )
    return _judge_labeler(check, record, limit, text=text, unjudged=unjudged, passes_unjudged=passes_unjudged)


def _judge_noise(measured: Measured, policy: QualityPolicy) -> Iterable[Judged]:
    if policy.contradicted_excess_max is None:
        return
    if measured.noise_skipped:
        text = f"labels are not compared with their neighbours: {measured.noise_skipped}"
        yield Reason(check="label noise", value=None, limit=None, passed=True, text=text), ()
    for record in measured.noise:
        whose = "labels of others" if record.compared_with == "others" else "accepted labels"
        text = (
            f"{record.ratio:.1%} of {record.num_judged} labels of {record.labeler!r} are contradicted by their nearest "
            f"neighbours; {record.expected_ratio:.1%} of the {whose} at the same places are"
        )
        unjudged = f"labels of {record.labeler!r} are not compared with their neighbours: no others label nearby"
        reason = _judge_labeler(
            f"{LABEL_NOISE}{record.labeler}",
            record,
            policy.contradicted_excess_max,
            text=text,
            unjudged=unjudged,
            passes_unjudged=True,
        )
        yield reason, _places_of(measured, record.labeler)


def _judge_coverage(measured: Measured, policy: QualityPolicy) -> Iterable[Judged]:
    """Nobody is to blame for labels that are not there yet: nothing goes into quarantine for it."""
    classes = measured.labels_by_class
    if not classes or not measured.is_first:
        return
    missing = [name for name, number in classes.items() if not number]
    ratio, limit = 1 - len(missing) / len(classes), policy.class_coverage_ratio_min
    text = f"{len(classes) - len(missing)} of {len(classes)} classes have labels"
    if missing:
        text += f"; none of {listed(missing)}. Push labels of these classes, or take them out of the task file"
    yield Reason(check="class coverage", value=round(ratio, 6), limit=limit, passed=ratio >= limit, text=text), ()


def _tell_released(measured: Measured) -> Iterable[Judged]:
    if measured.released:
        shards = sorted({shard for shard, _ in measured.released})
        text = f"labels of {len(measured.released)} labelers in {len(shards)} shards are not judged: "
        text += f"a person released them ({_listed(shards)})"
        yield Reason(check="released", value=len(measured.released), limit=None, passed=True, text=text), ()


def _judge_labeler(
    check: str, record: LabelerRecord, limit: float, *, text: str, unjudged: str, passes_unjudged: bool
) -> Reason:
    """Refused only by a whole confidence interval beyond the limit: nobody is named for bad luck."""
    bound = record.excess_lower_bound
    if bound is None:
        return Reason(check=check, value=None, limit=limit, passed=passes_unjudged, text=unjudged)
    return _reason(check, bound, limit, f"{text} (at least {max(bound, 0.0):.1%} more; limit {limit:.1%})")


def _places_of(measured: Measured, labeler: str) -> tuple[Place, ...]:
    return tuple((shard, labeler) for shard in measured.shards_by_labeler.get(labeler, ()))


def _reason(check: str, value: float, limit: float | None, text: str) -> Reason:
    return Reason(check=check, value=round(value, 6), limit=limit, passed=limit is None or value <= limit, text=text)


def _listed(shards: Sequence[str]) -> str:
    more = f" and {len(shards) - 3} more" if len(shards) > 3 else ""
    return ", ".join(shards[:3]) + more
