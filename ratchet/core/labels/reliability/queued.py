"""What opinions about examples of a queue tell: how far a shown answer pulls the labelers, and how often the champion
is right on the examples that were drawn at random. Pure.

Blind examples are drawn by hash from the same queue as those that show the answer, so the two differ in that alone.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BaseModel, ConfigDict

from ratchet.core.labels.agreement import latest_opinions
from ratchet.core.labels.queue_marks import QUEUE_MARK, QueueMark, parse_mark
from ratchet.core.labels.queueing import draw
from ratchet.core.labels.reliability.wilson import newcombe_bounds, wilson_bounds
from ratchet.core.labels.schema import NumberOutput, OutputSpec, TagsOutput


class Pull(BaseModel):
    """By how much more often labels are the champion's answer where it is shown (difference of shares, -1..1)."""

    model_config = ConfigDict(frozen=True)

    value: float
    low: float
    high: float
    """Newcombe's interval of 95 %."""


class Anchoring(BaseModel):
    """Agreement with the champion's answer where it was shown, beside agreement where it was not.

    Of one labeler, or of all (labeler ""): then each example counts once, with one opinion, drawn by hash.
    """

    model_config = ConfigDict(frozen=True)

    labeler: str
    num_shown: int
    num_same_shown: int
    """Of `num_shown`: the label is the champion's answer; of numbers within the tolerance."""
    num_blind: int
    num_same_blind: int
    num_min: int
    """Of each kind are needed for a number."""
    pull: Pull | None
    """None: too few examples of either kind."""


class AuditedAccuracy(BaseModel):
    """How often a champion is right on examples that were drawn at random: on all candidates of its queues."""

    model_config = ConfigDict(frozen=True)

    model: str
    """The first characters of its digest."""
    num: int
    num_right: int
    num_blind: int
    """Of `num`: labelled without a look at the answer."""
    num_min: int
    accuracy: float | None
    low: float | None
    high: float | None
    """Wilson's interval of 95 %. None: too few examples."""


class QueueReport(BaseModel):
    """Of the opinions of one task, or of one batch."""

    model_config = ConfigDict(frozen=True)

    anchoring: Anchoring
    by_labeler: tuple[Anchoring, ...]
    """In the order of names."""
    audits: tuple[AuditedAccuracy, ...]
    """By champion, that of the newest label first."""
    num_foreign: int
    """Marks that belong to another example: a tool mixed them up, and they are left out."""
    is_comparable: bool = True
    """False of numbers without a tolerance: a label neither agrees with an answer nor differs."""

    def of(self, labeler: str) -> Anchoring | None:
        return next((each for each in self.by_labeler if each.labeler == labeler), None)


class _Said(NamedTuple):
    """One label beside the champion's answer."""

    labeler: str
    mark: QueueMark
    is_same: bool


def measure_queue(said: pa.Table, output: OutputSpec, *, num_min: int) -> QueueReport | None:
    """None when no opinion is about an example of a queue.

    said: the columns id, label, labeler, labeled_at, shard, queue_mark. num_min: examples from which on there is a
    number, of each kind.
    """
    marked = said.filter(pc.is_valid(said[QUEUE_MARK]))
    if not marked.num_rows:
        return None
    marks = [
        parse_mark(text, id) for text, id in zip(marked[QUEUE_MARK].to_pylist(), marked["id"].to_pylist(), strict=True)
    ]
    known = [row for row, mark in enumerate(marks) if mark is not None and mark.answer is not None]
    is_comparable = not isinstance(output, NumberOutput) or output.tolerance is not None
    rows = marked.take(pa.array(known if is_comparable else [], pa.int64()))
    answered = [marks[row] for row in known]
    latest = latest_opinions(rows)
    each_said = _said(rows, latest.tolist(), rows["label"].take(pa.array(latest)).to_pylist(), answered, output)
    one_each = _one_of_each(rows, latest.tolist(), each_said)
    by_labeler: dict[str, list[_Said]] = defaultdict(list)
    for each in each_said:
        by_labeler[each.labeler].append(each)
    return QueueReport(
        anchoring=_anchoring("", one_each, num_min),
        by_labeler=tuple(_anchoring(name, by_labeler[name], num_min) for name in sorted(by_labeler)),
        audits=_audits(one_each, _newest_first(rows, answered), num_min),
        num_foreign=marks.count(None),
        is_comparable=is_comparable,
    )


def queue_findings(found: QueueReport | None) -> Iterator[tuple[str, float, str]]:
    """(check, value, sentence) of what there is enough of; a batch need not come from a queue at all."""
    if found is None:
        return
    if found.anchoring.pull is not None:
        yield "anchoring", found.anchoring.pull.value, anchoring_text(found.anchoring)
    for audit in found.audits:
        if audit.accuracy is not None:
            yield f"audited accuracy of {audit.model}", audit.accuracy, audit_text(audit)


def queue_texts(found: QueueReport) -> list[str]:
    """All of it in sentences, what is too little too."""
    if not found.is_comparable:
        return ["the pull of shown answers is not measured: the task's output has no `tolerance`"]
    told = [anchoring_text(found.anchoring), *map(audit_text, found.audits)]
    if found.num_foreign:
        told.append(f"{found.num_foreign} queue marks belong to other examples and are left out")
    return told


def anchoring_text(found: Anchoring) -> str:
    """A sentence with both shares and the interval, or what is missing."""
    whose = f"labels of {found.labeler!r}" if found.labeler else "labels"
    if found.pull is None:
        return (
            f"too few {whose} to tell how far a shown answer pulls: {found.num_shown} with the champion's answer and "
            f"{found.num_blind} blind; {found.num_min} of each are needed"
        )
    return (
        f"{whose} are the champion's answer on {found.num_same_shown / found.num_shown:.1%} of {found.num_shown} "
        f"examples that show it and on {found.num_same_blind / found.num_blind:.1%} of {found.num_blind} blind ones: "
        f"{pull_text(found.pull)}"
    )


def pull_text(pull: Pull) -> str:
    """`+12.0 points (+1.5 to +24.0)`."""
    return f"{100 * pull.value:+.1f} points ({100 * pull.low:+.1f} to {100 * pull.high:+.1f})"


def audit_text(found: AuditedAccuracy) -> str:
    """A sentence with the interval, or what is missing."""
    if found.accuracy is None or found.low is None or found.high is None:
        return (
            f"too few audited examples to tell the accuracy of the champion {found.model}: {found.num}; "
            f"{found.num_min} are needed"
        )
    return (
        f"the champion {found.model} is right on {found.accuracy:.1%} of {found.num} examples drawn at random "
        f"({found.low:.1%} to {found.high:.1%}); {found.num_blind} of them were labelled blind"
    )


def _said(
    rows: pa.Table, places: Sequence[int], labels: Sequence[Any], marks: Sequence[QueueMark | None], output: OutputSpec
) -> list[_Said]:
    labelers = rows["labeler"].take(pa.array(places, pa.int64())).to_pylist()
    found = []
    for place, label, labeler in zip(places, labels, labelers, strict=True):
        mark = marks[place]
        assert mark is not None
        found.append(_Said(labeler, mark, _is_same(label, mark.answer, output)))
    return found


def _one_of_each(rows: pa.Table, places: Sequence[int], said: Sequence[_Said]) -> list[_Said]:
    """One opinion of each example, drawn without a look at what it says: a majority would leave out the ties, and they
    are where labelers differ from the champion."""
    ids = rows["id"].take(pa.array(places, pa.int64())).to_pylist()
    drawn = draw([f"{each.labeler}:{id}" for each, id in zip(said, ids, strict=True)], "queued")
    first: dict[str, int] = {}
    for number in drawn.argsort(kind="stable").tolist():
        first.setdefault(ids[number], number)
    return [said[number] for number in sorted(first.values())]


def _is_same(label: Any, answer: Any, output: OutputSpec) -> bool:
    if isinstance(output, NumberOutput):
        is_number = isinstance(answer, int | float) and output.tolerance is not None
        return is_number and abs(label - answer) <= output.tolerance
    if isinstance(output, TagsOutput):
        return isinstance(answer, list) and sorted(map(str, label)) == sorted(map(str, answer))
    return bool(label == answer)


def _anchoring(labeler: str, said: Iterable[_Said], num_min: int) -> Anchoring:
    num: dict[bool, int] = {False: 0, True: 0}
    num_same = dict(num)
    for each in said:
        num[each.mark.is_blind] += 1
        num_same[each.mark.is_blind] += each.is_same
    shown, blind = (num_same[False], num[False]), (num_same[True], num[True])
    return Anchoring(
        labeler=labeler,
        num_shown=num[False],
        num_same_shown=num_same[False],
        num_blind=num[True],
        num_same_blind=num_same[True],
        num_min=num_min,
        pull=_pull_of(shown, blind) if min(num.values()) >= num_min else None,
    )


def _pull_of(shown: tuple[int, int], blind: tuple[int, int]) -> Pull:
    """Of (num_same, num) each."""
    low, high = newcombe_bounds(shown, blind)
    value = shown[0] / shown[1] - blind[0] / blind[1]
    return Pull(value=round(value, 6), low=round(low, 6), high=round(high, 6))


def _newest_first(rows: pa.Table, marks: Sequence[QueueMark | None]) -> Mapping[str, int]:
    """Champions, and their place in the order of their newest labels."""
    order = pc.sort_indices(rows["labeled_at"], sort_keys=[("", "descending")]).to_pylist()
    models = dict.fromkeys(mark.model for row in order if (mark := marks[row]) is not None)
    return {model: place for place, model in enumerate(models)}


def _audits(said: Iterable[_Said], order: Mapping[str, int], num_min: int) -> tuple[AuditedAccuracy, ...]:
    by_model: dict[str, list[_Said]] = defaultdict(list)
    for each in said:
        if each.mark.is_audit:
            by_model[each.mark.model].append(each)
    return tuple(_accuracy(model, by_model[model], num_min) for model in sorted(by_model, key=order.__getitem__))


def _accuracy(model: str, said: Sequence[_Said], num_min: int) -> AuditedAccuracy:
    num, num_right = len(said), sum(each.is_same for each in said)
    low, high = wilson_bounds(num_right, num)
    is_enough = num >= num_min
    return AuditedAccuracy(
        model=model,
        num=num,
        num_right=num_right,
        num_blind=sum(each.mark.is_blind for each in said),
        num_min=num_min,
        accuracy=round(num_right / num, 6) if is_enough else None,
        low=round(low, 6) if is_enough else None,
        high=round(high, 6) if is_enough else None,
    )
