"""Labels of real handwritten digits, and the room in which the data components run."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from sklearn.datasets import load_digits

from components.ingest.step import Paths as IngestPaths
from components.ingest.step import ingest_step
from components.validate.step import Paths as ValidatePaths
from components.validate.step import Stores as ValidateStores
from components.validate.step import validate_step
from ratchet.core.labels.quality import QualityPolicy
from ratchet.core.labels.shards import Label, render_labels
from ratchet.core.verdict import Verdict
from ratchet.stores.contents import Contents
from ratchet.stores.example_signatures import ExampleSignatures
from ratchet.stores.findings import Findings
from ratchet.stores.finished import FinishedSteps
from ratchet.stores.signals import Signals
from ratchet.stores.verdicts import Verdicts
from ratchet.tasks.spec import TaskSpec
from tests.fakes.dataset_store import FakeDatasetStore
from tests.fakes.label_store import FakeLabelStore
from tests.fakes.object_store import FakeObjectStore
from tests.stores import label_stores

SPEC = TaskSpec.model_validate(yaml.safe_load(Path("configs/tasks/digits.yaml").read_text()))
QUALITY = QualityPolicy.model_validate(yaml.safe_load(Path("configs/policies/quality.yaml").read_text()))
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


@lru_cache
def digits() -> tuple[np.ndarray, np.ndarray]:
    features_NF, labels_N = load_digits(return_X_y=True)
    return features_NF, labels_N


def digit_labels(rows: Sequence[int], *, labeler: str = "ada", num_wrong: int = 0, minutes: int = 0) -> list[Label]:
    """These rows as `digit-<row>`; the first `num_wrong` of them carry the next digit's label."""
    features_NF, labels_N = digits()
    return [
        Label(
            id=f"digit-{row}",
            features=tuple(features_NF[row]),
            label=str((labels_N[row] + (place < num_wrong)) % 10),
            labeler=labeler,
            labeled_at=NOON + timedelta(minutes=minutes),
        )
        for place, row in enumerate(rows)
    ]


def finished_steps(objects: FakeObjectStore | None = None, run_id: str = "run-1") -> FinishedSteps:
    """As one run sees them; without a store, nothing is finished."""
    return FinishedSteps(objects or FakeObjectStore(), "ratchet", "digits", run_id)


def validate_stores(labels: Any, datasets: Any, objects: Any) -> ValidateStores:
    return ValidateStores(
        labels,
        Verdicts(objects, "ratchet"),
        Contents(objects, "ratchet"),
        Signals(objects, "ratchet"),
        Findings(objects, "ratchet"),
        datasets,
        ExampleSignatures(objects, "ratchet"),
    )


class Room:
    """Stores in memory, and the steps run one after the other as the pipeline does."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.labels = FakeLabelStore(NOON)
        self.datasets = FakeDatasetStore()
        self.objects = FakeObjectStore()

    def push(self, labels: Sequence[Label]) -> str:
        return self.labels.put_shard("digits", render_labels(labels), num_labels=len(labels))

    def ingest(self, spec: TaskSpec = SPEC, *, by_weight: bool = False) -> tuple[str, int]:
        stores = label_stores(self.labels, self.datasets, self.objects)
        names = ("incoming", "reference", "manifest", "rejected")
        paths = IngestPaths(*(self.path(name) for name in names))
        return ingest_step(spec, run_key="k", stores=stores, paths=paths, by_weight=by_weight)

    def validate(self, version: str, policy: QualityPolicy = QUALITY, spec: TaskSpec = SPEC) -> Verdict:
        names = ("incoming", "reference", "manifest", "rejected", "report.html", "verdict.json")
        paths = ValidatePaths(*(self.path(name) for name in names))
        name = validate_step(
            spec,
            version=version,
            policy=policy,
            stores=validate_stores(self.labels, self.datasets, self.objects),
            paths=paths,
        )
        verdict = Verdict.model_validate_json(Path(paths.verdict).read_bytes())
        assert verdict.verdict == name
        return verdict

    def path(self, name: str) -> str:
        return str(self.folder / name)
