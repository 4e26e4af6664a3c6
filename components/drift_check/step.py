"""Are the new labels like those that the champion learned from? Our decision, with Evidently's page for people."""

from html import escape
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ratchet.core.digest import digest_of
from ratchet.core.drift import DriftDecision, DriftPolicy, decide_drift, feature_shift
from ratchet.core.labels import id_digest_of
from ratchet.core.reports import render_verdict
from ratchet.core.verdict import Verdict
from ratchet.tasks.spec import TaskSpec

REPORT_FEATURES_MAX = 10
"""Evidently takes 0.1 s and 100 kB of HTML for each."""
DECISION_ROWS_MAX = 10_000
REPORT_ROWS_MAX = 1_000
"""Evidently takes 2 s for so few rows and two minutes for a million; our decision sees ten times as many."""


class Paths(NamedTuple):
    incoming: str
    reference: str
    report: str
    verdict: str


class Sample(NamedTuple):
    """Examples drawn by a hash of their id: always the same ones of the same data."""

    features_NF: np.ndarray
    labels: list[str]

    def first(self, num_rows: int) -> "Sample":
        return Sample(self.features_NF[:num_rows], self.labels[:num_rows])


def drift_check_step(spec: TaskSpec, *, version: str, policy: DriftPolicy, paths: Paths) -> str:
    """Compare the new examples with the parent's: "stable", "drifted" or "too_few". Never stops a run."""
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
    _write(paths.verdict, verdict.model_dump_json(indent=2))
    _write_report(paths.report, verdict, incoming, reference)
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
    """One row of each id, in the order of the ids' digests, 10,000 at most."""
    table = pq.read_table(path, columns=["id", "features", "label"])
    first_row = {of: row for row, of in reversed(list(enumerate(table["id"].to_pylist())))}
    chosen = sorted(first_row, key=id_digest_of)[:DECISION_ROWS_MAX]
    taken = table.take(pa.array([first_row[of] for of in chosen], pa.int64()))
    features_NF = np.array(taken["features"].to_pylist(), dtype=np.float64).reshape(-1, spec.features.num_features)
    return Sample(features_NF, taken["label"].to_pylist())


def _write_report(path: str, verdict: Verdict, incoming: Sample, reference: Sample) -> None:
    """Our verdict, and Evidently's page below it where there was something to compare."""
    page = render_verdict(verdict, title=f"Drift of {verdict.inputs['version']}")
    if verdict.verdict != "too_few":
        figures = _render_figures(incoming.first(REPORT_ROWS_MAX), reference.first(REPORT_ROWS_MAX))
        page = page.replace("</body>", f"{figures}</body>")
    _write(path, page)


def _render_figures(incoming: Sample, reference: Sample) -> str:
    """Evidently's drift report of the classes and of the features that shift most, in a frame of its own."""
    import pandas as pd
    from evidently import DataDefinition, Dataset, Report
    from evidently.presets import DataDriftPreset

    shown = _most_shifted(incoming, reference)
    names = [f"feature {index}" for index in shown]
    definition = DataDefinition(numerical_columns=names, categorical_columns=["label"])

    def dataset_of(sample: Sample) -> Dataset:
        frame = pd.DataFrame(sample.features_NF[:, shown], columns=names).assign(label=sample.labels)
        return Dataset.from_pandas(frame, data_definition=definition)

    with np.errstate(invalid="ignore", divide="ignore"):  # it divides by the deviation of constant features
        snapshot = Report([DataDriftPreset()]).run(dataset_of(incoming), dataset_of(reference))
    document = escape(snapshot.get_html_str(as_iframe=False))
    frame = f'<iframe title="Evidently" style="width:100%;height:100vh" srcdoc="{document}"></iframe>'
    return f"<h2>Evidently: classes, and the {len(names)} features that shift most</h2>{frame}"


def _most_shifted(incoming: Sample, reference: Sample) -> list[int]:
    shifts = [
        feature_shift(old_M, new_N)
        for old_M, new_N in zip(reference.features_NF.T, incoming.features_NF.T, strict=True)
    ]
    return sorted(sorted(range(len(shifts)), key=lambda index: -shifts[index])[:REPORT_FEATURES_MAX])


def _write(path: str, text: str) -> None:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text(text)
