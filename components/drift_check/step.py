"""Are the new labels like those that the champion learned from? Our decision, with a page for people."""

from datetime import datetime
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ratchet.actions.labels.drift_report import Sample, sample_of_table, write_drift_verdict
from ratchet.actions.labels.representing import Fresh, Sources, new_examples, represent
from ratchet.actions.labels.sketching import fetch_sketch, sketch_file
from ratchet.actions.labels.typed_drift import (
    Comparison,
    is_single_vector,
    look_for_drift,
    record_vector_drift,
    typed_verdict,
    write_typed_verdict,
)
from ratchet.core.digest import digest_of
from ratchet.core.labels.drift import DriftDecision, DriftPolicy, decide_drift
from ratchet.core.labels.drift.tables import TableSketch
from ratchet.core.labels.tables import with_features
from ratchet.core.ports import DatasetStore, Ledger, ObjectStore
from ratchet.core.runs.findings import drift_signal_of
from ratchet.core.verdict import Verdict
from ratchet.stores.drift_records import DriftRecords
from ratchet.stores.page_libraries import PageLibraries
from ratchet.stores.signals import Signals
from ratchet.stores.sketches import Sketches
from ratchet.tasks.spec import TaskSpec

NEW_ROWS_MAX = 1 << 18
"""Of a larger batch so many are drawn: they show a shift of 0.006, and a harmless one is 0.1."""


class Stores(NamedTuple):
    """What the step asks, and where it writes what it found."""

    datasets: DatasetStore
    sketches: Sketches
    records: DriftRecords
    libraries: PageLibraries
    signals: Signals
    ledger: Ledger
    objects: ObjectStore


class Paths(NamedTuple):
    incoming: str
    reference: str
    report: str
    verdict: str


def drift_check_step(
    spec: TaskSpec, *, version: str, policy: DriftPolicy, stores: Stores, now: datetime, paths: Paths
) -> str:
    """Compare the new examples with the parent's: "stable", "drifted" or "too_few". Never stops a run.

    Safe to repeat: it writes over its one record and its one signal, and stores sketches and drawing libraries by what
    they are of.
    """
    check = _check_vectors if is_single_vector(spec.examples) else _check_typed
    decision = check(spec, version, policy, stores, now, paths)
    if (signal := drift_signal_of(decision, at=now)) is not None:
        stores.signals.put(spec.name, signal)
    return decision.name


def _check_typed(
    spec: TaskSpec, version: str, policy: DriftPolicy, stores: Stores, now: datetime, paths: Paths
) -> DriftDecision:
    """It costs the new rows, what the sketch of the parent lacks, and a bounded number of accepted rows where the
    champion is asked."""
    parent = stores.datasets.fetch_manifest(version).parent
    new = sketch_file(paths.incoming, spec, num_rows_max=NEW_ROWS_MAX)
    known, represented, features = TableSketch(), None, ""
    if parent and new.num_rows:
        known = fetch_sketch(spec, parent, datasets=stores.datasets, sketches=stores.sketches)
        sources = Sources(stores.ledger, stores.objects, stores.datasets)
        fresh = Fresh("new examples", lambda: new_examples(spec, paths.incoming))
        represented, features = represent(spec, fresh, parent, sources, num_rows_min=policy.num_rows_min)
    comparison = Comparison(
        kind="drift_check",
        compared=f"new examples of {version} with the training rows of {parent or 'no version'}",
        reference=parent or "",
        subject=version,
        schema=spec.examples,
        old=known,
        new=new,
        represented=represented,
        features=features,
    )
    decision = look_for_drift(spec, comparison, policy=policy, records=stores.records, now=now)
    verdict = typed_verdict(comparison, decision, policy=policy, version=version)
    write_typed_verdict(verdict, decision.columns, path=paths.verdict, report_path=paths.report)
    return decision.drift


def _check_vectors(
    spec: TaskSpec, version: str, policy: DriftPolicy, stores: Stores, now: datetime, paths: Paths
) -> DriftDecision:
    """With Evidently's page."""
    incoming, reference = _read_sample(paths.incoming, spec), _read_sample(paths.reference, spec)
    decision = decide_drift(
        reference_MF=reference.features_NF,
        incoming_NF=incoming.features_NF,
        reference_labels=reference.labels,
        incoming_labels=incoming.labels,
        classes=spec.classes,
        policy=policy,
    )
    nums = (len(reference.labels), len(incoming.labels))
    write_drift_verdict(
        _verdict_of(decision, version, policy, num_incoming=nums[1], num_reference=nums[0]),
        path=paths.verdict,
        report_path=paths.report,
        incoming=incoming,
        reference=reference,
        libraries=stores.libraries,
    )
    compared = f"new examples of {version} with those known before"
    record_vector_drift(
        spec, decision, kind="drift_check", compared=compared, nums=nums, records=stores.records, now=now
    )
    return decision


def _verdict_of(
    decision: DriftDecision, version: str, policy: DriftPolicy, *, num_incoming: int, num_reference: int
) -> Verdict:
    return Verdict(
        kind="drift_check",
        verdict=decision.name,
        reasons=decision.reasons,
        inputs={
            "version": version,
            "num_incoming": num_incoming,
            "num_reference": num_reference,
            "policy_digest": digest_of(policy.model_dump(mode="json")),
        },
    )


def _read_sample(path: str, spec: TaskSpec) -> Sample:
    """Without rows of classes that the task no longer has: no new label can be like them."""
    table = with_features(pq.read_table(path), spec.examples)
    table = table.filter(pc.is_in(table["label"], value_set=pa.array(spec.classes, pa.string())))
    return sample_of_table(table, num_features=spec.features.num_features)
