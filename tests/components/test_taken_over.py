"""A run that repeats one that ended badly takes over what that one finished, and trains anew when an input differs."""

import itertools
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from components.evaluate.step import evaluate_step
from components.finetune.step import finetune_step
from components.notify.step import EndedRun, notify_step
from ratchet.core.errors import Unavailable
from ratchet.core.labels.dataset import Manifest
from ratchet.core.models.evaluation import EvaluationPolicy
from ratchet.core.models.training_history import EpochMetrics
from ratchet.core.runs.outcome import Ended, Origin
from ratchet.core.verdict import Verdict
from ratchet.stores.finished import FinishedSteps, FinishedWork
from ratchet.stores.run_journal import RunJournal
from ratchet.stores.run_outcomes import RunOutcomes
from ratchet.training.job import StartRecord, TrainingJob
from ratchet.training.learners import TorchLearner
from tests.components.crash import Strike, Watched, never
from tests.components.data import NOON
from tests.components.rollout_world import TASK, Objects
from tests.components.rollout_world import World as Cluster
from tests.components.test_challenger import POLICY, commit_digits
from tests.components.test_notify import TRIGGER
from tests.fakes.dataset_store import FakeDatasetStore
from tests.fakes.ledger import FakeLedger
from tests.fakes.model_server import FakeModelServer
from tests.models import DIGITS, digits_model


class InstantTrainer:
    """Writes an untrained network where a training would write its own, and counts."""

    def __init__(self, seed: int = 0) -> None:
        self.num_trainings, self.seed = 0, seed

    def run(self, *, spec_path: Path, log_path: Path, **_: Any) -> None:
        job = TrainingJob.model_validate_json(spec_path.read_bytes())
        digits_model(job.model_path, seed=self.seed)
        job.start_path.write_text(StartRecord(base="").model_dump_json())
        epoch = EpochMetrics(epoch=1, train_loss=0.5, val_loss=0.25, val_accuracy=0.75)
        job.history_path.write_text(epoch.model_dump_json() + "\n")
        log_path.write_text("trained\n")
        self.num_trainings += 1


@dataclass
class Training:
    """What the two steps see, and what outlives their processes."""

    folder: Path
    objects: Objects = field(default_factory=Objects)
    datasets: FakeDatasetStore = field(default_factory=FakeDatasetStore)
    ledger: FakeLedger = field(default_factory=FakeLedger)
    trainer: InstantTrainer = field(default_factory=InstantTrainer)
    probe: FakeModelServer = field(default_factory=FakeModelServer)
    run_id: str = "run-1"
    spec: Any = DIGITS
    policy: EvaluationPolicy = POLICY

    def __post_init__(self) -> None:
        self.manifest: Manifest = commit_digits(self.datasets)

    @property
    def work(self) -> FinishedWork:
        return FinishedWork(self.objects, "ratchet")

    def finished(self, strike: Strike) -> FinishedSteps:
        watched: Any = Watched(self.objects, strike)
        return FinishedWork(watched, "ratchet").of_run(TASK, self.run_id)

    def finetune(self, strike: Strike = never) -> tuple[str, EpochMetrics]:
        return finetune_step(
            self.spec,
            self.manifest,
            datasets=self.datasets,
            objects=self.objects,
            ledger=self.ledger,
            learner=TorchLearner(self.trainer),
            model_path=self.folder / "model",
            log_path=self.folder / "log.txt",
            finished=self.finished(strike),
        )

    def evaluate(self, strike: Strike = never) -> tuple[Verdict, Mapping[str, float]]:
        return evaluate_step(
            self.spec,
            self.manifest,
            self.folder / "model",
            policy=self.policy,
            datasets=self.datasets,
            objects=self.objects,
            ledger=self.ledger,
            probe=self.probe,
            finished=self.finished(strike),
        )

    def both(self) -> tuple[Any, Any]:
        return self.finetune(), self.evaluate()

    def end(self, state: str) -> None:
        """The run, without notify's own deeds."""
        told = {"task": TASK, "run_key": "", "run_id": self.run_id, "error": "", "closed": "", "at": NOON}
        RunOutcomes(self.objects, "ratchet").put_outcome(Ended.model_validate({**told, "state": state}))

    def origins(self) -> dict[str, Origin]:
        return {origin.step: origin for origin in RunOutcomes(self.objects, "ratchet").list_origins(self.run_id)}


@pytest.fixture
def training(tmp_path: Path) -> Training:
    return Training(tmp_path)


@pytest.mark.parametrize("how", ["FAILED", "CANCELED", "its-notify-was-killed", "it-goes-on"])
def test_a_rerun_takes_over_the_training_and_the_evaluation_of_a_run_that_ended_badly(
    training: Training, how: str
) -> None:
    first = training.both()
    if how.isupper():
        training.end(how)
    training.run_id = training.run_id if how == "it-goes-on" else "run-2"
    assert training.both() == first
    assert (training.trainer.num_trainings, training.probe.num_asked) == (1, 1)
    origins = training.origins()
    assert {step: origin.taken_from for step, origin in origins.items()} == {"finetune": "run-1", "evaluate": "run-1"}
    whose = "an earlier attempt of this run" if how == "it-goes-on" else "run run-1"
    assert origins["finetune"].text == (f"taken over from {whose}: model {first[0][0][:12]}, trained on digits/v1")
    lineage = json.loads((training.folder / "model" / "lineage.json").read_text())
    assert lineage["dataset_version"] == "digits/v1"


def test_a_run_after_one_that_ended_well_trains_anew(training: Training) -> None:
    training.both()
    training.end("SUCCEEDED")
    training.run_id = "run-2"
    training.both()
    assert (training.trainer.num_trainings, training.origins()) == (2, {})


def other_version(training: Training) -> None:
    training.manifest = training.manifest.model_copy(update={"version": "digits/v2"})


def other_task_file(training: Training) -> None:
    training.spec = DIGITS.model_copy(update={"training": DIGITS.training.model_copy(update={"num_epochs": 99})})


def other_code(training: Training) -> None:
    uri = f"{training.work.folder_of(TASK)}finetune.json"
    kept = json.loads(training.objects.fetch(uri))
    kept["inputs"]["code"] = "f" * 64
    training.objects.put(uri, json.dumps(kept).encode())


def damaged_model(training: Training) -> None:
    uris = training.objects.list_uris(f"{training.work.folder_of(TASK)}model/")
    training.objects.put(next(uri for uri in uris if uri.endswith(".safetensors")), b"other weights")


def no_model(training: Training) -> None:
    for uri in list(training.objects.list_uris(f"{training.work.folder_of(TASK)}model/")):
        training.objects.delete(uri)


def edited_result(training: Training) -> None:
    uri = f"{training.work.folder_of(TASK)}finetune.json"
    training.objects.put(uri, training.objects.fetch(uri).replace(b"0.75", b"0.95"))


def no_result_at_all(training: Training) -> None:
    training.objects.put(f"{training.work.folder_of(TASK)}finetune.json", b"\xff[" * 500)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (other_version, "dataset version was digits/v1, is digits/v2"),
        (other_task_file, "task file was "),
        (other_code, "code was ffffffffffff, is "),
        (damaged_model, "model.safetensors"),
        (no_model, "is empty or does not exist"),
        (edited_result, "was changed after it was written"),
        (no_result_at_all, "done again"),
    ],
)
def test_whatever_differs_or_is_damaged_is_done_anew_and_named(training: Training, change: Any, why: str) -> None:
    training.both()
    training.end("FAILED")
    training.run_id = "run-2"
    change(training)
    training.finetune()
    assert training.trainer.num_trainings == 2
    origin = training.origins()["finetune"]
    assert origin.taken_from == ""
    assert why in origin.text


def test_another_evaluation_policy_judges_anew_and_trains_no_second_time(training: Training) -> None:
    training.both()
    training.end("FAILED")
    training.run_id, training.policy = "run-2", POLICY.model_copy(update={"accuracy_min": 0.123})
    training.both()
    assert (training.trainer.num_trainings, training.probe.num_asked) == (1, 2)
    assert "evaluation policy was" in training.origins()["evaluate"].text


def test_a_store_that_takes_nothing_costs_the_repetition_and_not_the_training(training: Training) -> None:
    class Away(Objects):
        def put(self, *_: Any, **__: Any) -> None:
            raise Unavailable("the object store does not answer")

    training.objects = Away()
    training.both()
    training.both()
    assert training.trainer.num_trainings == 2


def test_one_model_of_a_task_is_kept_and_none_once_a_run_has_ended_well(training: Training) -> None:
    training.finetune()
    training.trainer.seed = 1
    other_version(training)
    digest, _ = training.finetune()
    root = training.work.folder_of(TASK)
    uris = training.objects.list_uris(f"{root}model/")
    models = {uri.removeprefix(f"{root}model/").partition("/")[0] for uri in uris}
    assert models == {digest}
    journal, cluster = RunJournal(training.objects, "ratchet"), Cluster()
    journal.record_run(journal.append_claim(TRIGGER, after=None, clock=cluster), "run-1")
    notify_step(
        EndedRun(task=TASK, run_key="", run_id="run-1", state="SUCCEEDED", error=""),
        serving=cluster.ports(),
        journal=journal,
        outcomes=RunOutcomes(training.objects, "ratchet"),
        finished=training.work,
    )
    assert list(training.objects.list_uris(root)) == []


def test_what_is_forgotten_is_done_anew(training: Training) -> None:
    """`ratchet run retrain --fresh`."""
    training.both()
    training.end("FAILED")
    training.work.forget(TASK)
    training.run_id = "run-2"
    training.both()
    assert (training.trainer.num_trainings, training.origins()) == (2, {})


class Killed(BaseException):
    """What no step catches."""


@pytest.mark.parametrize("step", ["finetune", "evaluate"])
def test_killed_at_each_effect_and_repeated_it_ends_the_same_and_works_once_more_at_most(
    training: Training, step: str
) -> None:
    training.finetune()
    training.work.forget(TASK)
    effects: list[str] = []
    expected = getattr(training, step)(effects.append)
    last = len(effects)
    assert last >= 2, "before and after each effect"
    num_whole = 0
    for point in sorted({0, 1, last // 2, last - 2, last - 1}):
        training.work.forget(TASK)
        passed = itertools.count()

        def strike(_: str, *, at: int = point, passed: Any = passed) -> None:
            if next(passed) == at:
                raise Killed

        with pytest.raises(Killed):
            getattr(training, step)(strike)
        worked = training.trainer.num_trainings + training.probe.num_asked
        assert getattr(training, step)() == expected, f"point {point}"
        num_whole += training.trainer.num_trainings + training.probe.num_asked == worked
    assert num_whole >= 1, "killed after its result was kept, it works no second time"
