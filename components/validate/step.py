"""May the labels of a new version teach a model? Measures, lets core.quality decide, says so once and for all."""

import logging
from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from components.validate.neighbours import Neighbours
from components.validate.twins import count_twins, digest_of_row
from ratchet.actions.labels.resent import mark_judged
from ratchet.core.digest import digest_of
from ratchet.core.errors import DataRejected
from ratchet.core.labels.agreement import Opinion, latest_opinions, measure_agreement
from ratchet.core.labels.dataset import Manifest
from ratchet.core.labels.judged import ACCEPTED, REFUSED
from ratchet.core.labels.measured import Count, IngestNotes, Measured
from ratchet.core.labels.quality import QualityPolicy, decide_quality
from ratchet.core.labels.shards import Place
from ratchet.core.labels.tables import INCOMING, ROWS
from ratchet.core.ports import LabelStore
from ratchet.core.reports import render_verdict
from ratchet.core.runs.findings import label_quality_signal_of
from ratchet.core.verdict import Reason, Verdict
from ratchet.stores.contents import Contents
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


class Paths(NamedTuple):
    """What ingest wrote, and where the step writes."""

    incoming: str
    reference: str
    manifest: str
    rejected: str
    report: str
    verdict: str


Columns = Mapping[str, list[Any]]


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
    columns, reference = _read_columns(paths.incoming, INCOMING), _read_columns(paths.reference, ROWS)
    manifest = Manifest.model_validate_json(Path(paths.manifest).read_bytes())
    notes = IngestNotes.model_validate_json(Path(paths.rejected).read_bytes())
    if columns["id"] or notes.rejected:
        measured = _measure(spec, policy, columns, reference, notes, manifest)
        verdict = _judge(spec, version, policy, measured, manifest, notes)
        mark_judged(stores.labels, stores.contents, stores.verdicts, verdict, task=spec.name, version=version)
        stores.verdicts.put(verdict, version=version)
        if (signal := label_quality_signal_of(verdict, at=datetime.now(UTC))) is not None:
            stores.signals.put(spec.name, signal)
    else:
        verdict = _repeat(version, manifest, stores.verdicts.fetch(version))
    log.info("%s is %s: %s", version, verdict.verdict, verdict.summary())
    _write(paths.verdict, verdict.model_dump_json(indent=2))
    _write(paths.report, render_verdict(verdict, title=f"Labels of {version}"))
    return verdict.verdict


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
            "policy_digest": digest_of(policy.model_dump(mode="json")),
        },
    )


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
    columns: Columns,
    reference: Columns,
    notes: IngestNotes,
    manifest: Manifest,
) -> Measured:
    from components.validate.expectations import check_rows, frame_of

    everything, released = columns, _released_of(columns, notes)
    columns = _without(columns, released)
    opinions = _opinions_of(columns)
    known = {of: label for of, label in zip(columns["id"], columns["known_label"], strict=True) if label is not None}
    # Nobody can agree with a class that the task no longer has.
    comparable = {of: label for of, label in known.items() if label in spec.classes}
    neighbours = Neighbours(spec, policy, columns, reference)
    num_new = _num_new(everything)
    duplicates, leaks = count_twins(columns, num_known=max(0, manifest.num_labels - num_new))
    return Measured(
        num_new=num_new,
        num_labels=len(everything["id"]),
        shards_by_labeler=_shards_by_labeler(everything),
        rejected=notes.rejected,
        released=released,
        row_counts=(*check_rows(frame_of(columns), spec), _count_changed(columns)),
        duplicates=duplicates,
        leaks=leaks,
        agreement=measure_agreement(
            opinions,
            comparable,
            confidence=policy.confidence,
            num_judged_min=policy.num_shared_min,
            noise_by_id=neighbours.noise_around(comparable),
        ),
        noise=neighbours.measure_noise(latest_opinions(opinions)),
    )


def _num_new(columns: Columns) -> int:
    return len({of for of, label in zip(columns["id"], columns["known_label"], strict=True) if label is None})


def _released_of(columns: Columns, notes: IngestNotes) -> tuple[Place, ...]:
    """The places of this batch that a person released."""
    places = {(shard, labeler or "") for shard, labeler in zip(columns["shard"], columns["labeler"], strict=True)}
    return tuple(sorted(place for place in places if notes.is_released(*place)))


def _without(columns: Columns, places: Sequence[Place]) -> Columns:
    rows = zip(columns["shard"], columns["labeler"], strict=True)
    kept = [number for number, (shard, labeler) in enumerate(rows) if (shard, labeler or "") not in places]
    return {name: [values[number] for number in kept] for name, values in columns.items()}


def _opinions_of(columns: Columns) -> list[Opinion]:
    names = ("id", "label", "labeler", "labeled_at", "shard")
    rows = zip(*(columns[name] for name in names), strict=True)
    return [Opinion(**dict(zip(names, row, strict=True))) for row in rows if None not in row]


def _shards_by_labeler(columns: Columns) -> dict[str, tuple[str, ...]]:
    shards: dict[str, set[str]] = defaultdict(set)
    for labeler, shard in zip(columns["labeler"], columns["shard"], strict=True):
        shards[labeler or ""].add(shard)
    return {labeler: tuple(sorted(found)) for labeler, found in shards.items()}


def _count_changed(columns: Columns) -> Count:
    """Rows whose id came with other features before: one id must be one example."""
    first: dict[str, int] = {}
    changed: list[Place] = []
    names = ("id", "features", "shard", "labeler")
    for of, features, shard, labeler in zip(*(columns[name] for name in names), strict=True):
        digest = digest_of_row(features)
        if first.setdefault(of, digest) != digest:
            changed.append((shard, labeler or ""))
    return _count("one id, one example", "rows give an id other features than before", changed, len(columns["id"]))


def _count(check: str, rule: str, places: Sequence[Place], num_rows: int) -> Count:
    return Count(check=check, rule=rule, num_bad=len(places), num_rows=num_rows, places=tuple(sorted(set(places))))


def _read_columns(path: str, schema: pa.Schema) -> Columns:
    table = pq.read_table(path)
    if not table.schema.equals(schema):
        raise DataRejected(f"{path}: columns are {table.schema.names}, expected {schema.names}. Run ingest again.")
    return {name: table[name].to_pylist() for name in schema.names}


def _write(path: str, text: str) -> None:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text(text)
