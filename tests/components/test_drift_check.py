"""drift_check: real digits against real digits, shifted or not."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from components.drift_check.step import Paths, Stores, drift_check_step
from ratchet.core.labels.drift import DriftPolicy
from ratchet.core.labels.shards import Label
from ratchet.core.verdict import Verdict
from ratchet.stores.drift_records import DriftRecords
from ratchet.stores.page_libraries import PageLibraries
from ratchet.stores.signals import Signals
from ratchet.stores.sketches import Sketches
from tests.components.data import NOON, SPEC, digit_labels
from tests.fakes.dataset_store import FakeDatasetStore
from tests.fakes.ledger import FakeLedger
from tests.fakes.object_store import FakeObjectStore

POLICY = DriftPolicy.model_validate(yaml.safe_load(Path("configs/policies/drift.yaml").read_text()))

SIGNALS: dict[str, list] = {"stable": [("drift", False)], "drifted": [("drift", True)], "too_few": []}


def drift(
    folder: Path, reference: list[Label], incoming: list[Label], objects: FakeObjectStore | None = None
) -> tuple[Verdict, str]:
    for name, labels in (("reference", reference), ("incoming", incoming)):
        rows = [{**label.model_dump(), "inputs": {"features": label.features}} for label in labels]
        pq.write_table(pa.Table.from_pylist(rows, schema=SPEC.examples.rows_schema), folder / name)
    paths = Paths(*(str(folder / name) for name in ("incoming", "reference", "report", "verdict")))
    objects = objects or FakeObjectStore()
    name = drift_check_step(
        SPEC,
        version="digits/v2",
        policy=POLICY,
        stores=Stores(
            FakeDatasetStore(),
            Sketches(objects, "ratchet"),
            DriftRecords(objects, "ratchet"),
            PageLibraries(objects, "ratchet"),
            Signals(objects, "ratchet"),
            FakeLedger(),
            objects,
        ),
        now=NOON,
        paths=paths,
    )
    verdict = Verdict.model_validate_json(Path(paths.verdict).read_bytes())
    assert verdict.verdict == name
    signals = Signals(objects, "ratchet").fetch("digits")
    assert [(signal.kind, signal.is_bad) for signal in signals] == SIGNALS[name]
    return verdict, Path(paths.report).read_text()


def brighter(labels: list[Label]) -> list[Label]:
    return [
        label.model_copy(update={"features": tuple(min(16.0, value + 6) for value in label.features or ())})
        for label in labels
    ]


@pytest.mark.parametrize(
    ("reference", "incoming", "name", "reason"),
    [
        pytest.param(range(0, 1600, 2), range(1, 1600, 4), "stable", "classes shift by 0.0", id="same"),
        pytest.param(range(0), range(300), "too_few", "300 new examples against 0 known", id="no-parent"),
        pytest.param(range(300), range(0), "too_few", "0 new examples against 300 known", id="nothing-new"),
    ],
)
def test_digits_against_digits(tmp_path: Path, reference: range, incoming: range, name: str, reason: str) -> None:
    verdict, report = drift(tmp_path, digit_labels(reference), digit_labels(incoming))
    assert (verdict.verdict, reason in verdict.summary()) == (name, True), verdict.summary()
    assert ("Evidently" in report) == (name != "too_few")


def test_brighter_pictures_have_drifted(tmp_path: Path) -> None:
    objects = FakeObjectStore()
    verdict, report = drift(
        tmp_path, digit_labels(range(0, 1600, 2)), brighter(digit_labels(range(1, 1600, 8))), objects
    )
    assert verdict.verdict == "drifted"
    assert "feature 0 shifts by 1.000" in verdict.summary()
    assert "<svg" in report and "<iframe" not in report
    assert len(report) <= 300_000, "an hourly monitor writes 720 of these a month"
    assert "http://" not in report and "https://" not in report
    whole = PageLibraries(objects, "ratchet").make_whole(report)
    assert len(whole) > 3_000_000 and "drawDashboard" in whole


def test_other_classes_have_drifted(tmp_path: Path) -> None:
    ones = [label for label in digit_labels(range(1, 1797, 2)) if label.label in {"1", "2", "3"}]
    verdict, _ = drift(tmp_path, digit_labels(range(0, 1600, 2)), ones)
    assert verdict.failed[0].check == "labels"
