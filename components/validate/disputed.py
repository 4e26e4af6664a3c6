"""Opinions of the batch that contradict accepted labels: told, with who is likely right, and judged with that in mind.

Shape suffix: N opinions of the batch.
"""

from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from components.validate.asking import ask_classifier
from components.validate.batch import Places, count_bad
from ratchet.core.labels.answers import label_text
from ratchet.core.labels.corrections import is_word
from ratchet.core.labels.disputes import RIGHT, UNTOLD, WRONG, Disputes, find_disputes
from ratchet.core.labels.label_values import codes_of, whole_column
from ratchet.core.labels.measured import FOUND_ROWS_MAX, FoundRow, RowFinding
from ratchet.core.labels.reliability.voices import Voices
from ratchet.tasks.spec import TaskSpec

_CHECK = "disputed labels"
_SIDES = {RIGHT: "likely right", WRONG: "likely wrong", UNTOLD: "undecided"}


class Disputed(NamedTuple):
    """What becomes of the accepted labels that opinions contradict."""

    known_N: pa.Array
    """The accepted labels that are evidence about labelers; null for the others."""
    is_excused_N: np.ndarray
    """Which opinions contradict one of these others, so that nothing is held against their labelers."""
    findings: tuple[RowFinding, ...]
    """None where the batch speaks of no accepted example."""


def look_at_disputes(
    rows: pa.Table,
    reference: pa.Table,
    places: Places,
    known_N: pa.Array,
    voices: Voices,
    spec: TaskSpec,
    *,
    confidence: float,
) -> Disputed:
    """known_N: (N,) the accepted label of each row's example, or null. voices: of the rows, with these."""
    is_known_N = known_N.is_valid().to_numpy(zero_copy_only=False)
    if not is_known_N.any():
        return Disputed(known_N, is_known_N, ())
    codes = codes_of(pa.concat_arrays([whole_column(rows["label"]), known_N]))
    against_N = is_known_N & (codes[: len(known_N)] != codes[len(known_N) :])
    answered = ask_classifier(rows, reference, known_N, spec) if against_N.any() else "nothing is disputed"
    disputes = find_disputes(voices, spec.output, None if isinstance(answered, str) else answered)
    rule = "opinions contradict the accepted label of their example"
    if against_N.any():
        rule += f": {_told(disputes)}"
        if isinstance(answered, str):
            rule += f", by what labelers say alone (a classifier is not asked: {answered})"
        is_said = is_word(rows.filter(pa.array(against_N)), spec.reviewers)
        rule += "" if is_said.all() else '; a line with `"corrects": true` puts its label right'
    count = count_bad(_CHECK, rule, against_N, places).model_copy(update={"num_rows": int(is_known_N.sum())})
    finding = RowFinding(count=count, rows=_rows(rows, against_N, disputes))
    evidence_N = disputes.known_beyond(rows, known_N, confidence=confidence)
    is_excused_N = against_N & evidence_N.is_null().to_numpy(zero_copy_only=False)
    return Disputed(evidence_N, is_excused_N, (finding,))


def _told(disputes: Disputes) -> str:
    return ", ".join(f"{disputes.num(side)} {text}" for side, text in _SIDES.items())


def _rows(rows: pa.Table, against_N: np.ndarray, disputes: Disputes) -> tuple[FoundRow, ...]:
    """The first ones, each with the last shard in which its labeler says so."""
    some = disputes.ids.slice(0, FOUND_ROWS_MAX)
    said = rows.select(["id", "labeler", "shard"]).filter(pc.and_(pa.array(against_N), pc.is_in(rows["id"], some)))
    shards = {(each["id"], each["labeler"]): each["shard"] for each in said.to_pylist()}
    columns = (some, disputes.labelers, disputes.labels, disputes.accepted, disputes.sides_D)
    found = []
    for example, labeler, label, accepted, side in zip(*(list(each[: len(some)]) for each in columns), strict=True):
        place = (example.as_py(), labeler)
        given, stands = (label_text(value.as_py()) for value in (label, accepted))
        found.append(
            FoundRow(
                id=place[0],
                labeler=labeler,
                shard=shards.get(place, ""),
                text=f"labelled {given!r}, accepted as {stands!r}: {_SIDES[side]}",
                given=given,
            )
        )
    return tuple(found)
