"""A task file that changed since its champion was trained: other classes, another network, other features."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import torch.distributed as dist

from components.evaluate.step import evaluate_step
from components.finetune.step import finetune_step
from ratchet.core.errors import DataRejected
from ratchet.core.models.ledger import LedgerEntry, ModelRef
from ratchet.core.verdict import Reason, Verdict
from ratchet.tasks.identity import model_digest
from ratchet.tasks.spec import TaskSpec
from ratchet.training.job import TrainingJob
from ratchet.training.learners import TorchLearner
from ratchet.training.loop import train
from ratchet.training.pace import measure_paces
from ratchet.training.pace_job import PaceJob
from tests.components.data import NOON, SPEC, Room, digit_labels, digits, finished_steps
from tests.components.test_challenger import POLICY
from tests.fakes.ledger import FakeLedger
from tests.fakes.model_server import FakeModelServer
from tests.models import changed

EVALUATION = POLICY.model_copy(
    update={"accuracy_min": 0.1, "gain_min": -1.0, "loss_max": 0.99, "slice_loss_max": 1.0, "num_rows_min": 20}
)
"""Trainings of an epoch or two: how well they do is not what is tested."""


class OneProcess:
    """`ports.Trainer` without a process of its own."""

    def run(self, *, module: str, spec_path: Path, log_path: Path, **_: object) -> None:
        log_path.write_text("trained in this process")
        if module == "ratchet.training.pace":
            trial = PaceJob.model_validate_json(spec_path.read_bytes())
            trial.paces_path.write_text(measure_paces(trial, rank=0, world_size=1).model_dump_json())
            return
        train(TrainingJob.model_validate_json(spec_path.read_bytes()), rank=0, world_size=1)


class World:
    """Digits pushed and ingested, and the champion that learned all but the nines."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.room, self.ledger = folder, Room(folder), FakeLedger()
        self.ingest(range(700), spec_of(*"0123456789"))
        self.champion_path = self.finetune(spec_of(*"012345678", num_epochs=6))
        digest = model_digest(self.champion_path)
        uri = f"s3://models/digits/{digest}"
        self.room.objects.put_directory(self.champion_path, uri)
        model = ModelRef(version="3", digest=digest, uri=uri, dataset_version=self.manifest.version)
        self.ledger.append(
            LedgerEntry(
                seq=1, task="digits", kind="promoted", model=model, champion=model, reason="", run_id="", at=NOON
            )
        )

    def ingest(self, rows: range, spec: TaskSpec) -> None:
        self.room.push(digit_labels(rows))
        version, _ = self.room.ingest(spec)
        assert self.room.validate(version, spec=spec).verdict == "accepted"
        self.manifest = self.room.datasets.fetch_manifest(version)

    def finetune(self, spec: TaskSpec) -> Path:
        path = self.folder / f"model-{len(list(self.folder.iterdir()))}"
        finetune_step(
            spec,
            self.manifest,
            datasets=self.room.datasets,
            objects=self.room.objects,
            ledger=self.ledger,
            learner=TorchLearner(OneProcess()),
            model_path=path,
            log_path=self.folder / "log.txt",
            finished=finished_steps(),
        )
        return path

    def evaluate(self, path: Path) -> tuple[Verdict, dict[str, Reason]]:
        verdict, _ = evaluate_step(
            SPEC,
            self.manifest,
            path,
            policy=EVALUATION,
            datasets=self.room.datasets,
            objects=self.room.objects,
            ledger=self.ledger,
            probe=FakeModelServer(),
            finished=finished_steps(),
        )
        return verdict, {reason.check: reason for reason in verdict.reasons}


def spec_of(*classes: str, num_epochs: int = 1, start: str = "champion", **changes: object) -> TaskSpec:
    training = SPEC.training.model_copy(update={"num_epochs": num_epochs, "world_size": 1, "start": start})
    return changed(SPEC, {"classes": classes, "training": training, **changes})


def start_of(path: Path) -> dict[str, str]:
    lineage: dict[str, str] = json.loads((path / "lineage.json").read_text())
    return lineage


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("changed")
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}-store", rank=0, world_size=1)
    yield World(folder)
    dist.destroy_process_group()
    torch.set_num_threads(num_threads)


def test_a_new_class_grows_the_output_layer_and_is_judged_by_itself(world):
    path = world.finetune(spec_of("9", *"876543210", num_epochs=2))
    assert start_of(path)["start_weights"] == (
        "6 of 6 tensors of champion version 3 taken over; 9 known classes class by class: 6.weight, 6.bias; "
        "new classes: 9"
    )
    verdict, checks = world.evaluate(path)
    assert verdict.verdict == "passed", verdict.summary()
    assert checks["classes"].text.startswith("new classes: 9; challenger and champion are compared on the 9 classes")
    assert float(checks["new_class:9"].value or 0) > 0.5
    assert abs(float(checks["gain"].value or 0)) < 0.15, "the known classes were not kept"


def test_rows_of_a_removed_class_are_left_out_and_the_verdict_names_it(world):
    path = world.finetune(spec_of(*"01234567"))
    verdict, checks = world.evaluate(path)
    assert verdict.verdict == "passed", verdict.summary()
    assert checks["classes"].text.startswith("removed classes: 8 (")
    assert "removed classes: 8" in start_of(path)["start_weights"]


def test_another_network_starts_with_what_fits_and_says_what_does_not(world):
    path = world.finetune(spec_of(*"012345678", implementation="tests.training_tasks:Wider"))
    assert start_of(path)["start_weights"] == (
        "3 of 6 tensors of champion version 3 taken over; not: 2.weight (32x16x3x3 -> 48x16x3x3), 2.bias (32 -> 48), "
        "6.weight (9x512 -> 9x768)"
    )
    assert start_of(path)["base_model_version"] == "3"


def test_scratch_starts_without_the_champion(world):
    path = world.finetune(spec_of(*"012345678", start="scratch"))
    started = start_of(path)
    assert (started["start"], started["base_model_digest"], started["start_weights"]) == (
        "scratch",
        "",
        "a fresh network",
    )


def test_another_number_of_features_is_refused_before_a_version_is_made(world):
    spec = changed(SPEC, {"features": SPEC.features.model_copy(update={"num_features": 63})})
    narrow = [label.model_copy(update={"features": (label.features or ())[:63]}) for label in digit_labels([901, 902])]
    world.room.push(narrow)
    before = world.room.datasets.list_versions("digits")
    with pytest.raises(DataRejected, match=r"digits/v1, shards/v1-train\.parquet: .* rows have 64 features.*new name"):
        world.room.ingest(spec)
    assert world.room.datasets.list_versions("digits") == before
    with pytest.raises(DataRejected, match=r"rows have 64 features; .* features\.num_features: 63"):
        world.finetune(spec_of(*SPEC.classes, features=spec.features))


def test_an_earlier_label_of_a_removed_class_blames_no_labeler(world):
    """Sixty examples that the dataset holds as nines, now given the one name that the task has left for them."""
    _, labels_N = digits()
    nines = [row for row in range(700) if labels_N[row] == 9][:60]
    relabelled = [label.model_copy(update={"label": "8"}) for label in digit_labels(nines, labeler="bob")]
    world.room.push(relabelled)
    version, _ = world.room.ingest(spec_of(*"012345678"))
    verdict = world.room.validate(version, spec=spec_of(*"012345678"))
    assert not [reason for reason in verdict.failed if "bob" in reason.check], verdict.summary()


def test_a_layout_that_was_measured_is_in_the_model_and_its_lineage_as_numbers(world):
    spec = spec_of(*"012345678")
    auto = {**spec.training.model_dump(exclude={"world_size", "num_threads"}), "auto": True}
    path = world.finetune(changed(spec, {"training": auto}))
    lineage, training = start_of(path), json.loads((path / "task.json").read_text())["training"]
    assert "auto" not in training
    assert (lineage["world_size"], lineage["num_threads"]) == ("1", str(training["num_threads"]))
    assert "ms a step" in lineage["training_choice"] and training["world_size"] == 1
    assert json.loads((path / "choice.json").read_text())["text"] == lineage["training_choice"]
