"""Does production look like what the champion learned from, and is the champion still right there?"""

import logging
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import numpy as np

from components.drift_monitor.served import comparable_schema, represent_served, sketch_served
from components.drift_monitor.vectors import fetch_reference, served_sample
from ratchet.actions.labels.drift_report import (
    DECISION_ROWS_MAX,
    Sample,
    write_drift_verdict,
)
from ratchet.actions.labels.representing import Sources
from ratchet.actions.labels.sketching import fetch_sketch
from ratchet.actions.labels.typed_drift import (
    Comparison,
    is_single_vector,
    look_for_drift,
    record_vector_drift,
    write_typed_verdict,
)
from ratchet.actions.models.classes import tolerance_of
from ratchet.core.digest import digest_of
from ratchet.core.labels.drift import DriftDecision, DriftPolicy, decide_drift
from ratchet.core.labels.drift.evidence import next_look
from ratchet.core.labels.drift.tables import TableSketch
from ratchet.core.models.ledger import ModelRef, champion_of
from ratchet.core.ports import DatasetStore, FeedbackStore, Ledger, ObjectStore, PayloadLog, Registry
from ratchet.core.rollout.estimated import AccuracyEstimate, estimate_accuracy, known_answers
from ratchet.core.rollout.feedback import Accuracy, join_feedback
from ratchet.core.rollout.monitor import Gathered, MonitorPolicy, ServingQuality, gather, judge_serving_quality
from ratchet.core.runs.findings import drift_signal_of, serving_quality_signal_of
from ratchet.core.verdict import Reason, Verdict
from ratchet.stores.drift_records import DriftRecords
from ratchet.stores.page_libraries import PageLibraries
from ratchet.stores.signals import Signals
from ratchet.stores.sketches import Sketches
from ratchet.tasks.spec import TaskSpec

EVALUATED = "test_accuracy"
"""The metric of the registry that accuracy in production is compared with."""

log = logging.getLogger(__name__)


class Stores(NamedTuple):
    """What the step asks, and where its signals go."""

    payloads: PayloadLog
    feedback: FeedbackStore
    datasets: DatasetStore
    ledger: Ledger
    registry: Registry
    objects: ObjectStore
    """Where the models are."""
    libraries: PageLibraries
    signals: Signals
    records: DriftRecords
    sketches: Sketches


class Policies(NamedTuple):
    drift: DriftPolicy
    monitor: MonitorPolicy


class Paths(NamedTuple):
    report: str
    verdict: str


class Seen(NamedTuple):
    """What a look at production found, whatever the inputs are."""

    champion: ModelRef
    gathered: Gathered
    quality: ServingQuality
    estimate: AccuracyEstimate

    @property
    def told(self) -> tuple[Reason, ...]:
        """Of the verdict, beside drift."""
        return self.estimate.reason, self.quality.reason

    @property
    def compared(self) -> str:
        return f"production against {self.champion.dataset_version}"


def drift_monitor_step(spec: TaskSpec, *, policies: Policies, stores: Stores, now: datetime, paths: Paths) -> str:
    """ "stable", "drifted" or "too_few"; signals for the sensor where something could be said. Never stops anything.

    Safe to repeat: it writes over its own record and signals, one of each kind, and stores drawing libraries by their
    digest. A look that is repeated counts twice, which makes the next one need a little more evidence.
    """
    champion = champion_of(stores.ledger.list_entries(spec.name))
    if champion is None:
        return _say_nothing(spec, paths)
    gathered, accuracy, estimate = _look(spec, champion, stores, policies.monitor, now=now)
    quality = judge_serving_quality(
        accuracy, evaluated=_evaluated(stores.registry, spec.name, champion), policy=policies.monitor
    )
    seen = Seen(champion, gathered, quality, estimate)
    judge = _judge_vectors if is_single_vector(spec.examples) else _judge_typed
    drift = judge(spec, seen, policies, stores, now, paths)
    stores.records.put_estimate(spec.name, "drift_monitor", estimate.text)
    log.info("%s: %s; %s; %s", drift.name, drift.reasons[0].text, quality.text, estimate.text)
    for signal in (drift_signal_of(drift, at=now), serving_quality_signal_of(quality, at=now)):
        if signal is not None:
            stores.signals.put(spec.name, signal)
    return drift.name


def _say_nothing(spec: TaskSpec, paths: Paths) -> str:
    text = "no champion serves, so there is nothing to compare with"
    missing = Reason(check="champion", value=None, limit=None, passed=True, text=text)
    verdict = Verdict(kind="drift_monitor", verdict="too_few", reasons=(missing,), inputs={"version": spec.name})
    write_typed_verdict(verdict, (), path=paths.verdict, report_path=paths.report)
    return verdict.verdict


def _judge_vectors(
    spec: TaskSpec, seen: Seen, policies: Policies, stores: Stores, now: datetime, paths: Paths
) -> DriftDecision:
    """Each look at one champion has its share of the false alarms that all of them may cause."""
    incoming = served_sample(seen.gathered, spec)
    width = incoming.features_NF.shape[1]
    reference = (
        fetch_reference(stores.datasets, stores.objects, seen.champion, num_features=width, schema=spec.examples)
        if incoming.labels
        else Sample(np.empty((0, width)), [])
    )
    known = stores.records.fetch(spec.name, "drift_monitor")
    look = next_look(
        known.evidence if known else None, reference=seen.champion.dataset_version, subject=now.isoformat()
    )
    ratio = policies.drift.false_alarm_ratio * look.weight
    drift = _decide(spec, incoming, reference, policies.drift.model_copy(update={"false_alarm_ratio": ratio}))
    nums = (len(reference.labels), len(incoming.labels))
    verdict = Verdict(
        kind="drift_monitor",
        verdict=drift.name,
        reasons=(*drift.reasons, *seen.told),
        inputs=_inputs_of(seen, policies, num_reference=nums[0]),
    )
    _write_verdict(verdict, stores, paths, incoming=incoming, reference=reference)
    record_vector_drift(
        spec,
        drift,
        kind="drift_monitor",
        compared=seen.compared,
        nums=nums,
        records=stores.records,
        now=now,
        look=look,
    )
    return drift


def _judge_typed(
    spec: TaskSpec, seen: Seen, policies: Policies, stores: Stores, now: datetime, paths: Paths
) -> DriftDecision:
    """Costs what was asked, and what the version's sketch does not cover yet."""
    schema = comparable_schema(spec.examples)
    version, rows = seen.champion.dataset_version, seen.gathered.rows
    has_rows = bool(rows) and schema is not None
    represented, features = (
        represent_served(
            spec,
            seen.champion,
            rows,
            Sources(stores.ledger, stores.objects, stores.datasets),
            num_rows_min=policies.drift.num_rows_min,
        )
        if has_rows
        else (None, "")
    )
    comparison = Comparison(
        kind="drift_monitor",
        compared=seen.compared,
        reference=version,
        subject=now.isoformat(),
        schema=schema or spec.examples,
        old=fetch_sketch(spec, version, datasets=stores.datasets, sketches=stores.sketches)
        if has_rows
        else TableSketch(),
        new=sketch_served(rows, schema) if has_rows and schema else TableSketch(),
        represented=represented,
        features=features,
    )
    decision = look_for_drift(spec, comparison, policy=policies.drift, records=stores.records, now=now)
    verdict = Verdict(
        kind="drift_monitor",
        verdict=decision.drift.name,
        reasons=(*decision.drift.reasons, *seen.told),
        inputs={
            **_inputs_of(seen, policies, num_reference=comparison.old.num_rows),
            **({"features": features} if features else {}),
        },
    )
    write_typed_verdict(verdict, decision.columns, path=paths.verdict, report_path=paths.report)
    return decision.drift


def _write_verdict(verdict: Verdict, stores: Stores, paths: Paths, *, incoming: Sample, reference: Sample) -> None:
    write_drift_verdict(
        verdict,
        path=paths.verdict,
        report_path=paths.report,
        incoming=incoming,
        reference=reference,
        libraries=stores.libraries,
    )


def _look(
    spec: TaskSpec, champion: ModelRef, stores: Stores, policy: MonitorPolicy, *, now: datetime
) -> tuple[Gathered, Accuracy, AccuracyEstimate]:
    """What the champion was asked and answered within the window, how often it was right, and what that tells."""
    since, tolerance = now - timedelta(seconds=policy.window_s), tolerance_of(spec.output)
    feedback = list(stores.feedback.list_feedback(spec.name, since=since))
    gathered = gather(
        stores.payloads.list_predictions(spec.name, since=since),
        model_digest=champion.digest,
        named=frozenset(item.request_id for item in feedback),
        num_rows_max=DECISION_ROWS_MAX,
    )
    joined = join_feedback(gathered.answered, feedback, tolerance=tolerance)
    known = known_answers(gathered.answered, feedback, model_digest=champion.digest, tolerance=tolerance)
    expected = [row.probability for row in gathered.rows if row.probability is not None]
    estimate = estimate_accuracy(expected, known, confidence=policy.confidence)
    return gathered, joined.by_model.get(champion.digest, Accuracy()), estimate


def _decide(spec: TaskSpec, incoming: Sample, reference: Sample, policy: DriftPolicy) -> DriftDecision:
    return decide_drift(
        reference_MF=reference.features_NF,
        incoming_NF=incoming.features_NF,
        reference_labels=reference.labels,
        incoming_labels=incoming.labels,
        classes=_classes_of(spec, (*incoming.labels, *reference.labels)),
        policy=policy,
    )


def _classes_of(spec: TaskSpec, labels: Sequence[str]) -> tuple[str, ...]:
    """The task's, and what else the champion answers or has learned: it may be older than the task file."""
    return tuple(dict.fromkeys((*spec.classes, *labels)))


def _evaluated(registry: Registry, task: str, champion: ModelRef) -> float | None:
    versions = registry.list_versions(task)
    return next((known.metrics.get(EVALUATED) for known in versions if known.uri == champion.uri), None)


def _inputs_of(seen: Seen, policies: Policies, *, num_reference: int) -> dict[str, Any]:
    return {
        "version": seen.compared,
        "champion": seen.champion.digest,
        "num_requests": seen.gathered.num_requests,
        "num_incoming": len(seen.gathered.rows),
        "num_reference": num_reference,
        "window_s": policies.monitor.window_s,
        "policy_digest": digest_of([policy.model_dump(mode="json") for policy in policies]),
    }
