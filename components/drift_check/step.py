"""Are the new labels like those that the champion learned from? Our decision, with Evidently's page for people."""

from datetime import datetime
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ratchet.actions.labels.drift_report import Sample, sample_of_table, write_drift_verdict
from ratchet.core.digest import digest_of
from ratchet.core.labels.drift import DriftDecision, DriftPolicy, decide_drift
from ratchet.core.labels.tables import with_features
from ratchet.core.runs.findings import drift_signal_of
from ratchet.core.verdict import Verdict
from ratchet.stores.page_libraries import PageLibraries
from ratchet.stores.signals import Signals
from ratchet.tasks.spec import TaskSpec


class Paths(NamedTuple):
    incoming: str
    reference: str
    report: str
    verdict: str


def drift_check_step(
    spec: TaskSpec,
    *,
    version: str,
    policy: DriftPolicy,
    libraries: PageLibraries,
    signals: Signals,
    now: datetime,
    paths: Paths,
) -> str:
    """Compare the new examples with the parent's: "stable", "drifted" or "too_few". Never stops a run.

    Safe to repeat: it writes over its one signal, and stores drawing libraries by their digest.
    """
    incoming = _read_sample(paths.incoming, spec)
    reference = _read_sample(paths.reference, spec)
    decision = decide_drift(
        reference_MF=reference.features_NF,
        incoming_NF=incoming.features_NF,
        reference_labels=reference.labels,
        incoming_labels=incoming.labels,
        classes=spec.classes,
        policy=policy,
    )
    verdict = _verdict_of(
        decision, version, policy, num_incoming=len(incoming.labels), num_reference=len(reference.labels)
    )
    write_drift_verdict(
        verdict,
        path=paths.verdict,
        report_path=paths.report,
        incoming=incoming,
        reference=reference,
        libraries=libraries,
    )
    if (signal := drift_signal_of(decision, at=now)) is not None:
        signals.put(spec.name, signal)
    return verdict.verdict


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
