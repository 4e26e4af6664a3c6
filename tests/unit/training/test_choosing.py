"""`training: auto` without a training: which trials are made, what is chosen by them, and what a checkpoint brings."""

from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ratchet.core.errors import DataRejected, RatchetError, Unavailable
from ratchet.tasks.training_spec import CommunicationSpec
from ratchet.training.choosing import TrainingChoice, resolve
from ratchet.training.job import CHOICE, TrainingJob
from ratchet.training.pace_job import Pace, PaceChoice, PaceJob, Paces
from tests.models import DIGITS, changed

Timing = Callable[[int, PaceChoice], float | RatchetError]


class TimedTrainer:
    """`ports.Trainer` whose steps take what the test says. step_s: by the number of workers and the choice."""

    def __init__(self, step_s: Timing) -> None:
        self.step_s, self.trials, self.compiler = step_s, list[PaceJob](), "g++"

    def run(self, *, module: str, spec_path: Path, world_size: int, **_: object) -> None:
        assert module == "ratchet.training.pace"
        trial = PaceJob.model_validate_json(spec_path.read_bytes())
        assert trial.training.spec.training.world_size == world_size
        self.trials.append(trial)
        paces = []
        for choice in trial.choices:
            step_s = self.step_s(world_size, choice)
            if isinstance(step_s, RatchetError):
                raise step_s
            if choice.compile != "off" and not self.compiler:
                paces.append(Pace(choice=choice, refusal="there is no `g++` on PATH"))
            else:
                start_s = 10.0 if choice.compile != "off" else 0.0
                paces.append(Pace(choice=choice, step_s=step_s, num_steps=8, start_s=start_s))
        found = Paces(paces=tuple(paces), num_steps=12, num_parameters=9_930, num_gpus=0)
        trial.paces_path.write_text(found.model_dump_json())


def job_in(folder: Path, *, num_epochs: int = 1_000, auto: bool = True, **training_of: object) -> TrainingJob:
    pq.write_table(pa.table({"label": ["0"] * 320}), folder / "train.parquet")
    training = {**DIGITS.training.model_dump(), "num_epochs": num_epochs, "auto": auto, **training_of}
    return TrainingJob(
        spec=changed(DIGITS, {"training": training}),
        train_path=folder / "train.parquet",
        val_path=folder / "val.parquet",
        base_model_path=None,
        checkpoint_dir=folder / "checkpoints",
        model_path=folder / "model",
        start_path=folder / "start.json",
        history_path=folder / "history.jsonl",
        failure_path=folder / "failure.json",
    )


def test_a_task_file_that_says_its_layout_is_trained_so_and_nothing_is_measured(tmp_path):
    trainer, job = TimedTrainer(lambda *_: 1.0), job_in(tmp_path, auto=False)
    assert resolve(job, trainer) is job
    assert trainer.trials == [] and not (tmp_path / CHOICE).exists()


def test_a_short_training_stays_one_process_after_one_trial(tmp_path, monkeypatch):
    monkeypatch.setattr("ratchet.training.choosing.num_cores", lambda: 4)
    trainer = TimedTrainer(lambda _, choice: 0.001 if choice.num_threads == 1 else 0.002)
    job = resolve(job_in(tmp_path, num_epochs=10), trainer)
    assert len(trainer.trials) == 1
    assert [each.num_threads for each in trainer.trials[0].choices] == [4, 1]
    training = job.spec.training
    assert (training.auto, training.world_size, training.num_threads) == (False, 1, 1)
    assert TrainingJob.model_validate_json(job.model_dump_json()) == job, "as the workers read it"


@pytest.mark.parametrize(
    ("spread_s", "bf16_s", "expected"),
    [
        pytest.param(0.005, 0.005, (4, ""), id="workers"),
        pytest.param(0.005, 0.003, (4, "compress: bf16"), id="and-16-bits"),
        pytest.param(0.010, 0.010, (1, ""), id="no-gain"),
    ],
)
def test_a_long_training_takes_what_was_measured_to_be_fastest(tmp_path, monkeypatch, spread_s, bf16_s, expected):
    monkeypatch.setattr("ratchet.training.choosing.num_cores", lambda: 4)

    def step_s(world_size: int, choice: PaceChoice) -> float:
        if world_size == 1:
            return 0.01
        return bf16_s if choice.communication.compress == "bf16" else spread_s

    trainer = TimedTrainer(step_s)
    training = resolve(job_in(tmp_path), trainer).spec.training
    assert (training.world_size, training.communication.text) == expected
    compressed = {each.communication.compress for each in trainer.trials[1].choices}
    assert compressed == {"none", "bf16"}, "what may change what is learned is a person's choice"
    said = TrainingChoice.model_validate_json((tmp_path / CHOICE).read_bytes()).text
    assert "one process with 4 threads: 10 ms a step" in said and "4 workers with 1 thread each" in said


@pytest.mark.parametrize(
    ("given", "num_epochs", "compiled_s", "expected"),
    [
        pytest.param({}, 20_000, 0.001, (1, "on"), id="auto-decides-it-too"),
        pytest.param({}, 20_000, 0.0039, (1, "off"), id="no-gain"),
        pytest.param({}, 100, 0.001, (1, "off"), id="too-short-to-try"),
        pytest.param({"auto": False, "compile": "auto"}, 20_000, 0.001, (2, "on"), id="in-the-layout-that-is-given"),
        pytest.param({"auto": False, "compile": "auto"}, 100, 0.001, (2, "off"), id="given-and-too-short"),
    ],
)
def test_a_network_is_compiled_where_that_shortens_the_training(tmp_path, given, num_epochs, compiled_s, expected):
    trainer = TimedTrainer(lambda _, choice: 0.004 if choice.compile == "off" else compiled_s)
    training = resolve(job_in(tmp_path, num_epochs=num_epochs, **given), trainer).spec.training
    assert (training.world_size, training.compile, training.is_measured_first) == (*expected, False)
    tried = {choice.compile for trial in trainer.trials for choice in trial.choices}
    assert tried == ({"off"} if num_epochs == 100 else {"off", "on"})
    said = TrainingChoice.model_validate_json((tmp_path / CHOICE).read_bytes()).text
    assert ("after 10 s of compiling" in said) == (num_epochs != 100) and ("ompiled: " in said)


def test_where_there_is_no_compiler_the_choice_says_so(tmp_path):
    trainer = TimedTrainer(lambda *_: 0.01)
    trainer.compiler = ""
    job = resolve(job_in(tmp_path, auto=False, compile="auto", num_epochs=20_000), trainer)
    assert job.spec.training.compile == "off"
    said = TrainingChoice.model_validate_json((tmp_path / CHOICE).read_bytes()).text
    assert said == "Not compiled: there is no `g++` on PATH"


def test_workers_that_do_not_train_here_are_left_out_and_a_task_that_does_not_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setattr("ratchet.training.choosing.num_cores", lambda: 4)
    short_of_memory = TimedTrainer(lambda world_size, _: 0.01 if world_size == 1 else Unavailable("killed by SIGKILL"))
    assert resolve(job_in(tmp_path), short_of_memory).spec.training.world_size == 1
    with pytest.raises(DataRejected, match="the loss is nan"):
        resolve(job_in(tmp_path), TimedTrainer(lambda *_: DataRejected("the loss is nan")))


def test_a_training_that_goes_on_goes_on_as_it_was_chosen(tmp_path):
    """Random states and what each worker keeps are those of so many workers."""
    job, trainer = job_in(tmp_path), TimedTrainer(lambda *_: 0.01)
    before = TrainingChoice(
        world_size=3, num_threads=2, communication=CommunicationSpec(compress="bf16"), text="as measured"
    )
    place = job.checkpoint_dir / "epoch-0001"
    place.mkdir(parents=True)
    (place / CHOICE).write_text(before.model_dump_json())
    training = resolve(job, trainer).spec.training
    assert (training.world_size, training.num_threads, training.communication.compress) == (3, 2, "bf16")
    assert trainer.trials == []
    (place / CHOICE).write_text("{")
    assert resolve(job, trainer).spec.training.world_size == 1
    assert trainer.trials and not job.checkpoint_dir.exists(), "nobody knows of how many workers it is"
