"""Drift of a task with typed inputs: what was found, its page, and the record that the next look goes on from."""

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from ratchet.core.digest import digest_of
from ratchet.core.labels.drift.decide import ColumnDrift, TypedDecision, advice_of, decide_typed_drift
from ratchet.core.labels.drift.evidence import DriftLook, next_look
from ratchet.core.labels.drift.measures import Represented, measure_shifts
from ratchet.core.labels.drift.page import render_columns
from ratchet.core.labels.drift.policy import DriftDecision, DriftPolicy
from ratchet.core.labels.drift.record import DriftKind, DriftRecord
from ratchet.core.labels.drift.tables import TableSketch
from ratchet.core.labels.schema import CategoryOutput, ExampleSchema
from ratchet.core.reports import render_verdict
from ratchet.core.verdict import Verdict
from ratchet.stores.drift_records import DriftRecords
from ratchet.tasks.spec import TaskSpec


class Comparison(NamedTuple):
    """What is compared with what."""

    kind: DriftKind
    compared: str
    """In words."""
    reference: str
    """The version whose rows are known."""
    subject: str
    """What is new; a step that is retried has the same again."""
    old: TableSketch
    new: TableSketch
    schema: ExampleSchema
    """Of what both sides have."""
    represented: Represented | None = None
    """By the champion, where it represents texts and images."""
    features: str = ""
    """In words, how texts and images become numbers; "" where there are none."""


def is_single_vector(schema: ExampleSchema) -> bool:
    """Whether `core.labels.drift.vectors` judges it: a vector alone that is never missing, and a category."""
    vector = schema.short_input
    return vector is not None and not vector.optional and isinstance(schema.output, CategoryOutput)


def look_for_drift(
    spec: TaskSpec, comparison: Comparison, *, policy: DriftPolicy, records: DriftRecords, now: datetime
) -> TypedDecision:
    """The decision, which is written down with the evidence of all looks.

    The record comes before any signal: a step that dies in between repeats the look, which then counts once.
    """
    known = records.fetch(spec.name, comparison.kind)
    look = next_look(known.evidence if known else None, reference=comparison.reference, subject=comparison.subject)
    measures = measure_shifts(
        comparison.old,
        comparison.new,
        schema=comparison.schema,
        policy=policy,
        are_answers=comparison.kind == "drift_monitor",
        represented=comparison.represented,
    )
    decision = decide_typed_drift(
        measures, num_old=comparison.old.num_rows, num_new=comparison.new.num_rows, look=look, policy=policy
    )
    records.put(spec.name, _record_of(spec, comparison, decision, look, known, at=now))
    return decision


def _record_of(
    spec: TaskSpec,
    comparison: Comparison,
    decision: TypedDecision,
    look: DriftLook,
    known: DriftRecord | None,
    *,
    at: datetime,
) -> DriftRecord:
    """A look at too few rows leaves the evidence as it was."""
    drift = decision.drift
    evidence = look.after(decision.e_values, is_alarm=drift.name == "drifted") if decision.columns else None
    return DriftRecord(
        kind=comparison.kind,
        at=at,
        compared=comparison.compared,
        num_old=comparison.old.num_rows,
        num_new=comparison.new.num_rows,
        verdict=drift.name,
        reasons=drift.reasons,
        advice=advice_of(decision.columns, name=drift.name, task=spec.name),
        columns=decision.columns,
        evidence=evidence or (known.evidence if known else None),
    )


def record_vector_drift(
    spec: TaskSpec,
    drift: DriftDecision,
    *,
    kind: DriftKind,
    compared: str,
    nums: tuple[int, int],
    records: DriftRecords,
    now: datetime,
    look: DriftLook | None = None,
) -> None:
    """What was found of a task whose only input is a vector. nums: known rows, new rows.

    look: where looks at one reference are counted; a look at too few rows is none.
    """
    known = records.fetch(spec.name, kind)
    counts = look is not None and drift.name != "too_few"
    evidence = look.after({}, is_alarm=drift.name == "drifted") if look and counts else known and known.evidence
    record = DriftRecord(
        kind=kind,
        at=now,
        compared=compared,
        num_old=nums[0],
        num_new=nums[1],
        verdict=drift.name,
        reasons=drift.reasons,
        advice=advice_of((), name=drift.name, task=spec.name),
        evidence=evidence,
    )
    records.put(spec.name, record)


def typed_verdict(
    comparison: Comparison,
    decision: TypedDecision,
    *,
    policy: DriftPolicy,
    version: str,
) -> Verdict:
    """The verdict of a step that compares labels."""
    return Verdict(
        kind=comparison.kind,
        verdict=decision.drift.name,
        reasons=decision.drift.reasons,
        inputs={
            "version": version,
            "compared": comparison.compared,
            "num_incoming": comparison.new.num_rows,
            "num_reference": comparison.old.num_rows,
            **({"features": comparison.features} if comparison.features else {}),
            "policy_digest": digest_of(policy.model_dump(mode="json")),
        },
    )


def write_typed_verdict(verdict: Verdict, columns: Sequence[ColumnDrift], *, path: str, report_path: str) -> None:
    """The verdict as JSON, and as a page that every browser shows without scripts."""
    page = render_verdict(verdict, title=f"Drift of {verdict.inputs['version']}")
    for target, text in (
        (path, verdict.model_dump_json(indent=2)),
        (report_path, page.replace("</body>", f"{render_columns(columns)}</body>")),
    ):
        Path(target).parent.mkdir(parents=True, exist_ok=True)
        Path(target).write_text(text)
