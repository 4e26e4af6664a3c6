"""A drift verdict with its page for people: ours, and Evidently's below it. For every step that looks for drift."""

from html import escape
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from ratchet.core.drift import feature_shift
from ratchet.core.labels import id_digest_of
from ratchet.core.reports import render_verdict
from ratchet.core.verdict import Verdict

REPORT_FEATURES_MAX = 10
"""Evidently takes 0.1 s and 100 kB of HTML for each."""
DECISION_ROWS_MAX = 10_000
REPORT_ROWS_MAX = 1_000
"""Evidently takes 2 s for so few rows and two minutes for a million; our decision sees ten times as many."""


class Sample(NamedTuple):
    """Examples drawn by a hash of their id: always the same ones of the same data."""

    features_NF: np.ndarray
    labels: list[str]

    def first(self, num_rows: int) -> "Sample":
        return Sample(self.features_NF[:num_rows], self.labels[:num_rows])


def sample_of_table(table: pa.Table, *, num_features: int) -> Sample:
    """One row of each id, in the order of the ids' digests, 10,000 at most; columns id, features, label."""
    taken = draw_rows(table)
    features_NF = np.array(taken["features"].to_pylist(), dtype=np.float64).reshape(-1, num_features)
    return Sample(features_NF, taken["label"].to_pylist())


def draw_rows(table: pa.Table) -> pa.Table:
    """The rows of that sample. Drawn from part after part with what was drawn before, they are those of the whole."""
    first_row = {of: row for row, of in reversed(list(enumerate(table["id"].to_pylist())))}
    chosen = sorted(first_row, key=id_digest_of)[:DECISION_ROWS_MAX]
    return table.take(pa.array([first_row[of] for of in chosen], pa.int64()))


def write_drift_verdict(verdict: Verdict, *, path: str, report_path: str, incoming: Sample, reference: Sample) -> None:
    """The verdict as JSON, and as a page; Evidently's part is there where there was something to compare."""
    _write(path, verdict.model_dump_json(indent=2))
    page = render_verdict(verdict, title=f"Drift of {verdict.inputs['version']}")
    if verdict.verdict != "too_few":
        figures = _render_figures(incoming.first(REPORT_ROWS_MAX), reference.first(REPORT_ROWS_MAX))
        page = page.replace("</body>", f"{figures}</body>")
    _write(report_path, page)


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
