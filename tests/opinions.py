"""Opinions as tests write them, and as the checks of labelers take them."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from ratchet.core.labels.agreement import measure_agreement
from ratchet.core.labels.excess import LabelerRecord
from ratchet.core.labels.schema import CategoryOutput, OutputSpec

LETTERS = CategoryOutput(classes=("x", "y"))
_SCHEMA = pa.schema(
    [(name, pa.string()) for name in ("id", "label", "labeler", "shard")]
    + [("labeled_at", pa.timestamp("us", tz="UTC"))]
)


class Opinion(NamedTuple):
    id: str
    label: object
    labeler: str
    labeled_at: datetime
    shard: str


def said_of(opinions: Sequence[Opinion], *, kind: pa.DataType | None = None) -> pa.Table:
    schema = _SCHEMA if kind is None else _SCHEMA.set(1, pa.field("label", kind))
    return pa.Table.from_pylist([each._asdict() for each in opinions], schema=schema)


def agreement_of(
    opinions: Sequence[Opinion],
    known: Mapping[str, object],
    *,
    confidence: float,
    num_judged_min: int,
    noise_by_id: Mapping[str, float] | None = None,
    output: OutputSpec = LETTERS,
    kind: pa.DataType | None = None,
) -> tuple[LabelerRecord, ...]:
    """`measure_agreement` of opinions one by one."""
    noise = None if noise_by_id is None else np.array([noise_by_id.get(each.id, np.nan) for each in opinions])
    return measure_agreement(
        said_of(opinions, kind=kind),
        pa.array([known.get(each.id) for each in opinions], kind or pa.string()),
        output=output,
        confidence=confidence,
        num_judged_min=num_judged_min,
        noise_N=noise,
    )
