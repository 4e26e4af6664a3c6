"""A drift verdict with its page for people: ours, and Evidently's below it. For every step that looks for drift."""

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from ratchet.core.labels.drift import feature_shift
from ratchet.core.labels.drift_picture import FeatureDraw, render_differences
from ratchet.core.labels.shards import id_digest_of
from ratchet.core.pages import CutPage, cut_libraries, render_folded
from ratchet.core.reports import render_verdict
from ratchet.core.verdict import Verdict
from ratchet.stores.page_libraries import PageLibraries

REPORT_FEATURES_MAX = 10
"""Evidently takes 0.1 s for each, and 10 kB of the page."""
_COMMAND = "ratchet runs report RUN"
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
    # Reversed: of several rows with one id the first stays.
    first_row = {of: row for row, of in reversed(list(enumerate(table["id"].to_pylist())))}
    chosen = sorted(first_row, key=id_digest_of)[:DECISION_ROWS_MAX]
    return table.take(pa.array([first_row[of] for of in chosen], pa.int64()))


def write_drift_verdict(
    verdict: Verdict,
    *,
    path: str,
    report_path: str,
    incoming: Sample,
    reference: Sample,
    libraries: PageLibraries,
) -> None:
    """The verdict as JSON, and as a page; figures are there where there was something to compare.

    The page shows tables and histograms by itself. Evidently's part needs its library, which is stored once in
    `libraries`: 4 MB in each page made 3.7 GB a month of an hourly monitor.
    """
    _write(path, verdict.model_dump_json(indent=2))
    page = render_verdict(verdict, title=f"Drift of {verdict.inputs['version']}")
    if verdict.verdict != "too_few":
        cut, figures = _render_figures(incoming.first(REPORT_ROWS_MAX), reference.first(REPORT_ROWS_MAX))
        libraries.put(cut.libraries)
        page = page.replace("</body>", f"{figures}</body>")
    _write(report_path, page)


def _render_figures(incoming: Sample, reference: Sample) -> tuple[CutPage, str]:
    """Our tables and histograms of the classes and of the features that shift most, then Evidently's report of them."""
    shown = _most_shifted(incoming, reference)
    names = [f"feature {index}" for index in shown]
    features = [
        FeatureDraw(name, reference.features_NF[:, index], incoming.features_NF[:, index])
        for name, index in zip(names, shown, strict=True)
    ]
    still = render_differences(features, known_labels=reference.labels, new_labels=incoming.labels)
    cut = cut_evidently(incoming, reference, shown=shown, names=names)
    told = (
        "<h2>Evidently: the same classes and features</h2><p>This part is interactive and needs a drawing library that "
        f"is not in this file. <code>{_COMMAND}</code> writes a copy of this page with the library in it.</p>"
    )
    return cut, f"{still}{told}{render_folded(cut, title='Evidently')}"


def cut_evidently(incoming: Sample, reference: Sample, *, shown: list[int], names: list[str]) -> CutPage:
    import pandas as pd
    from evidently import DataDefinition, Dataset, Report
    from evidently.presets import DataDriftPreset

    definition = DataDefinition(numerical_columns=names, categorical_columns=["label"])

    def dataset_of(sample: Sample) -> Dataset:
        frame = pd.DataFrame(sample.features_NF[:, shown], columns=names).assign(label=sample.labels)
        return Dataset.from_pandas(frame, data_definition=definition)

    with np.errstate(invalid="ignore", divide="ignore"):  # it divides by the deviation of constant features
        snapshot = Report([DataDriftPreset()]).run(dataset_of(incoming), dataset_of(reference))
    return cut_libraries(snapshot.get_html_str(as_iframe=False), _read_libraries())


def _read_libraries() -> Iterator[str]:
    """The texts that Evidently copies into each page: its script and its font."""
    from importlib.resources import files

    static = files("evidently").joinpath("nbextension", "static")
    script, font = static.joinpath("index.js"), static.joinpath("material-ui-icons.woff2")
    if script.is_file():
        yield script.read_text(encoding="utf-8")
    if font.is_file():
        yield base64.b64encode(font.read_bytes()).decode()


def _most_shifted(incoming: Sample, reference: Sample) -> list[int]:
    shifts = [
        feature_shift(old_M, new_N)
        for old_M, new_N in zip(reference.features_NF.T, incoming.features_NF.T, strict=True)
    ]
    # The inner sort picks what shifted most, the outer one puts that back into the order of the columns.
    return sorted(sorted(range(len(shifts)), key=lambda index: -shifts[index])[:REPORT_FEATURES_MAX])


def _write(path: str, text: str) -> None:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text(text)
