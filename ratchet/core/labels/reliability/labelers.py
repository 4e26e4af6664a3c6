"""What the stored opinions say of each labeler, and what `validate` makes of them: the same check, of all of it. Pure.

Opinions are a table: the columns id, label, labeler, labeled_at, shard.
"""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import AwareDatetime, BaseModel, ConfigDict

from ratchet.core.labels.agreement import latest_opinions, measure_agreement
from ratchet.core.labels.answers import label_text
from ratchet.core.labels.label_values import codes_of, whole_column
from ratchet.core.labels.quality import AGREEMENT, LABEL_NOISE, QualityPolicy, judge_agreement
from ratchet.core.labels.reliability.report import Agreement, Others, agreements_of
from ratchet.core.labels.reliability.voices import Voices, voices_of
from ratchet.core.labels.schema import OutputSpec
from ratchet.core.labels.shards import Place
from ratchet.core.verdict import Reason, Verdict

SAMPLE_MAX = 10
CONFUSIONS_MAX = 20
Status = Literal["trusted", "too few", "suspected", "reviewer"]
"""suspected: a check of `validate` fails. too few: no check has enough to judge. reviewer: not judged, but believed."""


class LabelerRow(BaseModel):
    """One labeler."""

    model_config = ConfigDict(frozen=True)

    labeler: str
    status: Status
    reason: str
    """The check that decides the status, in words."""
    num_opinions: int
    num_examples: int
    agreement: Agreement
    num_corrections_made: int
    """Accepted labels that this labeler put right, alone or as the first of several."""
    num_corrections_received: int
    """Labels of this labeler that a correction by others replaced."""
    num_quarantined: int
    """Opinions in quarantine."""
    first_at: AwareDatetime
    last_at: AwareDatetime


class Disagreement(BaseModel):
    """An example on which a labeler says something else than most of the others."""

    model_config = ConfigDict(frozen=True)

    id: str
    label: Any
    others: Any


class Confusion(BaseModel):
    """How often a labeler says one class where the others say another."""

    model_config = ConfigDict(frozen=True)

    label: str
    others: str
    num: int


class Differences(BaseModel):
    """Where a labeler differs from the others."""

    model_config = ConfigDict(frozen=True)

    num: int
    confusions: tuple[Confusion, ...] = ()
    """The most frequent first; none of numbers."""
    mean_difference: float | None = None
    """Of numbers: own less the others' median; above 0: this labeler says more."""
    mean_distance: float | None = None
    sample: tuple[Disagreement, ...]


class LabelHistory(NamedTuple):
    """What is known of opinions beside themselves."""

    overlay: pa.Table | None
    """Corrections of the newest accepted version: id, label, labeler, labeled_at."""
    held: frozenset[Place]
    """In quarantine: (shard, labeler), or (shard, "") of a whole shard."""
    verdicts: Sequence[tuple[str, Verdict]]
    """Of `validate`, by version, oldest first."""


def labelers_of(
    said: pa.Table, history: LabelHistory, output: OutputSpec, policy: QualityPolicy, *, reviewers: Collection[str]
) -> tuple[LabelerRow, ...]:
    """A row of each labeler of the opinions, in the order of names."""
    names = sorted(pc.unique(said["labeler"]).to_pylist())
    if not names:
        return ()
    voices = voices_of(said)
    agreements = {each.labeler: each for each in agreements_of(voices, output, num_shared_min=policy.num_shared_min)}
    reasons = _reasons_now(said, history.overlay, output, policy)
    earlier = _reasons_then(history.verdicts)
    labelers_N = codes_of(said["labeler"])
    made, received = _corrections(said, history.overlay)
    is_held_N = _is_held(said, history.held)
    at = said["labeled_at"]
    rows = []
    for number, name in enumerate(names):
        own = np.flatnonzero(labelers_N == number)
        times = pc.min_max(at.take(pa.array(own))).as_py()
        status, reason = (
            ("reviewer", "reviewers are not judged")
            if name in reviewers
            else _status_of((reasons[name], *earlier.get(name, ())))
        )
        rows.append(
            LabelerRow(
                labeler=name,
                status=status,
                reason=reason,
                num_opinions=len(own),
                num_examples=int(pc.count_distinct(said["id"].take(pa.array(own))).as_py()),
                agreement=agreements.get(name, Agreement(labeler=name)),
                num_corrections_made=made[name],
                num_corrections_received=received[name],
                num_quarantined=int(is_held_N[own].sum()),
                first_at=times["min"],
                last_at=times["max"],
            )
        )
    return tuple(rows)


def differences_of(said: pa.Table, labeler: str, output: OutputSpec) -> Differences:
    """What a labeler says where most of the others say something else: how often, which, and some examples."""
    voices = voices_of(said)
    if labeler not in voices.names:
        return Differences(num=0, sample=())
    others = Others.of(voices, output)
    own = np.flatnonzero((voices.labelers_N == voices.names.index(labeler)) & others.is_told_N)
    if voices.has_numbers:
        return _differences_of_numbers(voices, others, own)
    assert others.agrees_N is not None
    apart = own[~others.agrees_N[own]]
    pairs = Counter(
        (label_text(label), label_text(other))
        for label, other in zip(_taken(voices.labels, apart), _taken(others.consensus, apart), strict=True)
    )
    return Differences(
        num=len(apart),
        confusions=tuple(
            Confusion(label=label, others=other, num=num)
            for (label, other), num in sorted(pairs.items(), key=lambda each: (-each[1], each[0]))[:CONFUSIONS_MAX]
        ),
        sample=_sample(voices, others, apart),
    )


def _differences_of_numbers(voices: Voices, others: Others, own: np.ndarray) -> Differences:
    """Without a tolerance every other number differs."""
    apart_n = voices.numbers_N()[own] - others.consensus.to_numpy(zero_copy_only=False)[own]
    differs_n = apart_n != 0 if others.agrees_N is None else ~others.agrees_N[own]
    order = np.argsort(-np.abs(apart_n), kind="stable")
    return Differences(
        num=int(differs_n.sum()),
        mean_difference=round(float(apart_n.mean()), 6) if len(own) else None,
        mean_distance=round(float(np.abs(apart_n).mean()), 6) if len(own) else None,
        sample=_sample(voices, others, own[order[differs_n[order]]]),
    )


def _sample(voices: Voices, others: Others, rows: np.ndarray) -> tuple[Disagreement, ...]:
    some = rows[:SAMPLE_MAX]
    ids = _taken(voices.ids, voices.examples_N[some])
    labels, told = _taken(voices.labels, some), _taken(others.consensus, some)
    return tuple(
        Disagreement(id=of, label=label, others=other) for of, label, other in zip(ids, labels, told, strict=True)
    )


def _reasons_now(
    said: pa.Table, overlay: pa.Table | None, output: OutputSpec, policy: QualityPolicy
) -> dict[str, Reason]:
    """The check of agreement, as `validate` does it, of everything that was ever said. A label that was put right is
    a voice for who put it right."""
    records = measure_agreement(
        said,
        _put_right(said, overlay),
        output=output,
        confidence=policy.confidence,
        num_judged_min=policy.num_shared_min,
    )
    return {record.labeler: judge_agreement(record, policy) for record in records}


def _put_right(said: pa.Table, overlay: pa.Table | None) -> pa.Array:
    """(N,) the label that an accepted correction gave the example of the row, or null."""
    kind = whole_column(said["label"]).type
    if overlay is None:
        return pa.nulls(said.num_rows, kind)
    places = pc.index_in(whole_column(said["id"]), value_set=whole_column(overlay["id"]))
    return whole_column(overlay["label"]).cast(kind).take(places)


def _reasons_then(verdicts: Sequence[tuple[str, Verdict]]) -> Mapping[str, tuple[Reason, ...]]:
    """What the last verdict that could judge a labeler said: it knows neighbours and accepted labels as well."""
    found: dict[str, tuple[Reason, ...]] = {}
    for version, verdict in verdicts:
        by_labeler: dict[str, list[Reason]] = {}
        for reason in verdict.reasons:
            start = next((each for each in (AGREEMENT, LABEL_NOISE) if reason.check.startswith(each)), None)
            if start is not None and isinstance(reason.value, int | float):
                told = reason.model_copy(update={"text": f"{version}: {reason.text}"})
                by_labeler.setdefault(reason.check.removeprefix(start), []).append(told)
        found.update({name: tuple(reasons) for name, reasons in by_labeler.items()})
    return found


def _status_of(reasons: Sequence[Reason]) -> tuple[Status, str]:
    judged = [reason for reason in reasons if reason.value is not None]
    failed = [reason for reason in judged if not reason.passed]
    if failed:
        return "suspected", "; ".join(reason.text for reason in failed)
    return ("trusted", judged[0].text) if judged else ("too few", reasons[0].text)


def _corrections(said: pa.Table, overlay: pa.Table | None) -> tuple[Counter[str], Counter[str]]:
    """Made and received, by labeler. Who repeats an accepted label corrects nobody."""
    if overlay is None or not overlay.num_rows:
        return Counter(), Counter()
    latest = said.take(pa.array(latest_opinions(said)))
    places = pc.index_in(latest["id"], value_set=whole_column(overlay["id"]))
    touched = latest.filter(pc.is_valid(places))
    newer = overlay.take(pc.drop_null(whole_column(places)))
    codes = codes_of(pa.concat_arrays([whole_column(touched["label"]), whole_column(newer["label"])]))
    is_other = codes[: touched.num_rows] != codes[touched.num_rows :]
    is_older = pc.less_equal(whole_column(touched["labeled_at"]), whole_column(newer["labeled_at"]))
    is_put_right = pc.and_(pa.array(is_other), is_older)
    _, first = np.unique(codes_of(newer["id"].filter(is_put_right)), return_index=True)
    made = newer["labeler"].filter(is_put_right).take(pa.array(first)).to_pylist()
    return Counter(made), Counter(touched["labeler"].filter(is_put_right).to_pylist())


def _is_held(said: pa.Table, held: Collection[Place]) -> np.ndarray:
    if not held:
        return np.zeros(said.num_rows, dtype=bool)
    shards, labelers = (whole_column(said[name]).dictionary_encode() for name in ("shard", "labeler"))
    of_shard, of_labeler = shards.dictionary.to_pylist(), labelers.dictionary.to_pylist()
    width = max(1, len(of_labeler))
    pairs, which_N = np.unique(
        shards.indices.to_numpy().astype(np.int64) * width + labelers.indices.to_numpy(), return_inverse=True
    )
    is_held = [
        bool({(of_shard[pair // width], ""), (of_shard[pair // width], of_labeler[pair % width])} & set(held))
        for pair in pairs.tolist()
    ]
    return np.array(is_held, dtype=bool)[which_N.reshape(-1)]


def _taken(column: pa.Array, rows: np.ndarray) -> list[Any]:
    return list(column.take(pa.array(rows)).to_pylist())
