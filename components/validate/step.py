"""May the labels of a new version teach a model? Measures, lets core/labels/quality.py decide, says so for good."""

import logging
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from components.validate.batch import Places, count_changed, num_new_of
from components.validate.disputed import look_at_disputes
from components.validate.examined import as_examined, examine
from components.validate.near import find_near
from components.validate.neighbours import Neighbours, skip_text
from components.validate.remarkable import find_label_errors, find_outliers
from components.validate.twins import count_twins
from ratchet.actions.labels.resent import mark_judged
from ratchet.actions.labels.signing import fetch_signatures
from ratchet.core.digest import digest_of
from ratchet.core.errors import DataRejected
from ratchet.core.labels.agreement import measure_agreement
from ratchet.core.labels.dataset import Manifest
from ratchet.core.labels.excess import LabelerRecord
from ratchet.core.labels.findings import VersionFindings, render_findings
from ratchet.core.labels.judged import ACCEPTED, REFUSED
from ratchet.core.labels.label_values import whole_column
from ratchet.core.labels.measured import IngestNotes, Measured
from ratchet.core.labels.near.signatures import Signatures, joined
from ratchet.core.labels.quality import QualityPolicy, decide_quality
from ratchet.core.labels.reliability.page import render_reliability
from ratchet.core.labels.reliability.queued import measure_queue
from ratchet.core.labels.reliability.report import Reliability, measure_reliability
from ratchet.core.labels.reliability.voices import voices_of
from ratchet.core.labels.schema import CategoryOutput
from ratchet.core.labels.tables import incoming_schema
from ratchet.core.ports import DatasetStore, LabelStore
from ratchet.core.reports import render_verdict
from ratchet.core.runs.findings import label_quality_signal_of
from ratchet.core.verdict import Reason, Verdict
from ratchet.stores.contents import Contents
from ratchet.stores.example_signatures import ExampleSignatures
from ratchet.stores.findings import Findings
from ratchet.stores.signals import Signals
from ratchet.stores.verdicts import Verdicts
from ratchet.tasks.spec import TaskSpec

log = logging.getLogger(__name__)


class Stores(NamedTuple):
    """What the step reads, and what it writes down."""

    labels: LabelStore
    verdicts: Verdicts
    contents: Contents
    signals: Signals
    findings: Findings
    datasets: DatasetStore
    signatures: ExampleSignatures


class Paths(NamedTuple):
    """What ingest wrote, and where the step writes."""

    incoming: str
    reference: str
    manifest: str
    rejected: str
    report: str
    verdict: str


def validate_step(
    spec: TaskSpec,
    *,
    version: str,
    policy: QualityPolicy,
    stores: Stores,
    paths: Paths,
) -> str:
    """Accept or refuse a version: "accepted" or "refused", in the verdict that makes it count (or never count).

    Safe to repeat: marks of contents and the verdict are written if absent, and the same labels get the same verdict.
    """
    manifest = Manifest.model_validate_json(Path(paths.manifest).read_bytes())
    notes = IngestNotes.model_validate_json(Path(paths.rejected).read_bytes())
    num_rows = pq.read_metadata(paths.incoming).num_rows
    if num_rows or notes.rejected:
        known = _fetch_known(spec, manifest.parent if num_rows else None, stores)
        measured = _measure(spec, policy, paths, known, notes, manifest)
        verdict = _judge(spec, version, policy, measured, manifest, notes)
        mark_judged(stores.labels, stores.contents, stores.verdicts, verdict, task=spec.name, version=version)
        stores.findings.put(VersionFindings(version=version, found=measured.findings))
        stores.verdicts.put(verdict, version=version)
        if (signal := label_quality_signal_of(verdict, at=datetime.now(UTC))) is not None:
            stores.signals.put(spec.name, signal)
    else:
        measured, verdict = None, _repeat(version, manifest, stores.verdicts.fetch(version))
    log.info("%s is %s: %s", version, verdict.verdict, verdict.summary())
    _write(paths.verdict, verdict.model_dump_json(indent=2))
    _write(
        paths.report, render_verdict(verdict, title=f"Labels of {version}", sections=_sections_of(verdict, measured))
    )
    return verdict.verdict


def _fetch_known(spec: TaskSpec, parent: str | None, stores: Stores) -> Signatures:
    """Of all that is accepted: the parent version."""
    if parent is None:
        return joined([], spec.examples)
    return fetch_signatures(spec, parent, datasets=stores.datasets, signatures=stores.signatures)


def _judge(
    spec: TaskSpec,
    version: str,
    policy: QualityPolicy,
    measured: Measured,
    manifest: Manifest,
    notes: IngestNotes,
) -> Verdict:
    decision = decide_quality(measured, policy)
    return Verdict(
        kind="validate",
        verdict=ACCEPTED if decision.is_accepted else REFUSED,
        reasons=decision.reasons,
        inputs={
            "version": version,
            "watermark": manifest.watermark,
            "shards": list(measured.shards),
            "quarantined": list(decision.quarantined),
            "quarantined_rows": {key: list(labelers) for key, labelers in decision.quarantined_rows.items()},
            "quarantine_reasons": dict(decision.why),
            "released": [list(place) for place in measured.released],
            "reopened": list(notes.reopened),
            "orders": notes.orders,
            "rejected": {shard.key: shard.reason for shard in measured.rejected},
            "num_labels": measured.num_labels,
            "agreement": measured.reliability.model_dump(mode="json") if measured.reliability else None,
            "policy_digest": digest_of(policy.model_dump(mode="json")),
        },
    )


def _sections_of(verdict: Verdict, measured: Measured | None) -> dict[str, str]:
    """What the page shows as tables."""
    agreement = verdict.inputs.get("agreement")
    sections = {"agreement": render_reliability(Reliability.model_validate(agreement))} if agreement else {}
    return sections | {"findings": render_findings(measured.findings) if measured else ""}


def _repeat(version: str, manifest: Manifest, earlier: Verdict | None) -> Verdict:
    """Nothing is new: the version is the newest accepted one, and its verdict stands."""
    if earlier is None or earlier.verdict != ACCEPTED:
        said = earlier.verdict if earlier else "not judged"
        raise DataRejected(f"{version} has no new labels and is {said}. Run the pipeline from ingest on.")
    text = f"no label shard is new since {version}, which was accepted with {manifest.num_labels} labels"
    return Verdict(
        kind="validate",
        verdict=ACCEPTED,
        reasons=(Reason(check="new labels", value=0, limit=None, passed=True, text=text),),
        inputs=earlier.inputs,
    )


def _measure(
    spec: TaskSpec,
    policy: QualityPolicy,
    paths: Paths,
    known: Signatures,
    notes: IngestNotes,
    manifest: Manifest,
) -> Measured:
    from components.validate.expectations import check_rows

    schema = spec.examples
    reference = examine(paths.reference, schema.rows_schema, schema)
    steps_F = known.steps_F if known.rows.num_rows else None
    everything = examine(paths.incoming, incoming_schema(schema), schema, steps_F=steps_F)
    spec = spec.model_copy(update={"inputs": as_examined(schema).inputs})
    places = Places.of(everything.rows)
    released = places.released(notes)
    examined = everything.filter(places.kept(released)) if released else everything
    rows, inputs_N = examined.rows, examined.codes_N
    kept = Places.of(rows)
    known_N = _comparable(rows, spec)
    voices = voices_of(rows, known_N)
    disputed = look_at_disputes(rows, reference.rows, kept, known_N, voices, spec, confidence=policy.confidence)
    neighbours = Neighbours(spec, policy, rows, reference.rows)
    num_new = num_new_of(everything.rows)
    num_known = max(0, manifest.num_labels - num_new)
    duplicates, leaks = count_twins(rows, inputs_N, kept, spec.examples, num_known=num_known)
    return Measured(
        num_new=num_new,
        num_labels=everything.rows.num_rows,
        shards_by_labeler=places.shards_by_labeler,
        rejected=notes.rejected,
        released=released,
        row_counts=(*check_rows(rows, spec.examples), count_changed(rows, inputs_N, kept)),
        duplicates=duplicates,
        leaks=leaks,
        agreement=_of_labelers(_agreement(rows, disputed.known_N, neighbours, spec, policy), spec),
        findings=(
            *disputed.findings,
            *find_near(examined, known, kept, spec.examples, policy),
            find_outliers(examined, reference, kept, spec),
            find_label_errors(rows, reference.rows, kept, spec),
        ),
        reliability=measure_reliability(voices, spec.output, num_shared_min=policy.num_shared_min),
        queued=measure_queue(rows, spec.output, num_min=policy.num_shared_min),
        noise=_of_labelers(neighbours.measure_noise(disputed.is_excused_N), spec),
        noise_skipped=skip_text(spec.examples),
        labels_by_class=_labels_by_class(spec, manifest),
        is_first=manifest.parent is None,
    )


def _agreement(
    rows: pa.Table, known_N: pa.Array, neighbours: Neighbours, spec: TaskSpec, policy: QualityPolicy
) -> tuple[LabelerRecord, ...]:
    """Without opinions that correct others of the same batch: who corrects chooses what differs."""
    is_fair_N = pc.invert(pc.and_(rows["corrects"], pc.is_null(rows["known_label"]))).to_numpy(zero_copy_only=False)
    fair = np.flatnonzero(is_fair_N)
    noise_N = neighbours.noise_around(known_N)
    return measure_agreement(
        rows.select(["id", "label", "labeler", "labeled_at", "shard"]).take(pa.array(fair)),
        known_N.take(pa.array(fair)),
        output=spec.output,
        confidence=policy.confidence,
        num_judged_min=policy.num_shared_min,
        noise_N=None if noise_N is None else noise_N[fair],
    )


def _of_labelers(records: Sequence[LabelerRecord], spec: TaskSpec) -> tuple[LabelerRecord, ...]:
    """Without reviewers: who is asked to put wrong labels right differs from them, and is believed."""
    return tuple(record for record in records if record.labeler not in spec.reviewers)


def _comparable(rows: pa.Table, spec: TaskSpec) -> pa.Array:
    """The known labels. Nobody can agree with a class that the task no longer has: null."""
    known = whole_column(rows["known_label"])
    if not pa.types.is_string(known.type):
        return known
    is_class = pc.is_in(known, value_set=pa.array(spec.classes, pa.string()))
    return pc.if_else(is_class, known, pa.scalar(None, pa.string()))


def _labels_by_class(spec: TaskSpec, manifest: Manifest) -> dict[str, int]:
    """What the version holds of each class of the task; nothing where every class need not be there."""
    if not isinstance(spec.output, CategoryOutput):
        return {}
    return {name: manifest.num_labels_by_class.get(name, 0) for name in spec.classes}


def _write(path: str, text: str) -> None:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text(text)
