"""What a task file may choose under `training:`, each by what it does to the weights. One process, no torchrun."""

import json
import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from safetensors.torch import load_file

from ratchet.core.errors import PolicyError
from ratchet.core.models.training_history import EpochMetrics
from ratchet.tasks.model_files import load_weights
from ratchet.tasks.training_spec import CommunicationSpec
from ratchet.training.job import TrainingJob
from ratchet.training.loop import train
from ratchet.training.pace import measure_paces
from ratchet.training.pace_job import PaceChoice, PaceJob, Paces
from ratchet.training.running import CPU
from ratchet.training.stopping import TrainingStopped
from tests.components.test_training import history_of, job_in, spec_of
from tests.models import DIGITS, changed


@pytest.fixture(autouse=True, scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    store = tmp_path_factory.mktemp("group") / "store"
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=0, world_size=1)
    yield
    dist.destroy_process_group()
    torch.set_num_threads(num_threads)


def trained(folder: Path, base: Path | None = None, **training: Any) -> TrainingJob:
    choices = {**DIGITS.training.model_dump(), "num_epochs": 3, **training}
    job = job_in(folder, spec=changed(DIGITS, {"training": choices}), base=base)
    train(job, rank=0, world_size=1)
    return job


def differing(one: TrainingJob, other: TrainingJob) -> list[str]:
    """Names of the tensors that are not the same to the last bit."""
    ours, theirs = load_weights(one.model_path), load_weights(other.model_path)
    return [name for name in ours if not torch.equal(ours[name], theirs[name])]


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> TrainingJob:
    return trained(tmp_path_factory.mktemp("plain") / "job")


def test_a_batch_in_parts_gives_the_same_gradient(plain, tmp_path):
    parts = trained(tmp_path / "parts", accumulate=3)
    assert [each.train_loss for each in history_of(parts)] == pytest.approx(
        [each.train_loss for each in history_of(plain)], rel=1e-4
    )
    ours, theirs = load_weights(parts.model_path), load_weights(plain.model_path)
    assert all(torch.allclose(ours[name], theirs[name], atol=2e-3) for name in ours)


def test_a_cosine_falls_to_nearly_nothing(tmp_path):
    rates = [
        each.learning_rate or 0.0 for each in history_of(trained(tmp_path / "job", schedule="cosine", warmup_share=0.2))
    ]
    assert rates[0] > rates[1] > rates[2] and 0 < rates[2] < 0.02 * DIGITS.training.learning_rate


def test_clipped_gradients_change_the_weights_and_loose_ones_do_not(plain, tmp_path):
    assert differing(trained(tmp_path / "tight", clip_norm=0.01), plain)
    assert not differing(trained(tmp_path / "loose", clip_norm=1e9), plain)


def test_frozen_parameters_stay_until_they_are_unfrozen(plain, tmp_path):
    frozen = trained(tmp_path / "frozen", base=plain.model_path, freeze=("0.*", "2.*"))
    later = trained(tmp_path / "later", base=plain.model_path, freeze=("0.*", "2.*"), unfreeze_after=1)
    heads = {"6.weight", "6.bias"}
    assert set(differing(frozen, plain)) == heads
    assert set(differing(later, plain)) == heads | {"0.weight", "0.bias", "2.weight", "2.bias"}


@pytest.mark.parametrize(
    ("freeze", "says"),
    [
        pytest.param(
            ("encoder.*",), r"no parameter that is trained is named 'encoder\.\*'.* 0\.weight, 0\.bias", id="none"
        ),
        pytest.param(("*",), "names every parameter of the network", id="all"),
    ],
)
def test_a_freeze_that_cannot_be_meant_is_refused(freeze, says, tmp_path):
    with pytest.raises(PolicyError, match=says):
        trained(tmp_path / "job", freeze=freeze)


def test_the_average_lags_behind_the_weights_and_is_the_model(plain, tmp_path):
    averaged = trained(tmp_path / "averaged", ema_decay=0.9)
    assert [each.train_loss for each in history_of(averaged)] == [each.train_loss for each in history_of(plain)]
    assert differing(averaged, plain)
    assert (history_of(averaged)[-1].val_accuracy or 0) > 0.6


def test_a_training_ends_when_the_validation_loss_has_not_fallen(tmp_path):
    job = trained(tmp_path / "job", num_epochs=40, learning_rate=0.1, early_stop_epochs=2)
    losses = [each.val_loss for each in history_of(job) if each.val_loss is not None]
    assert len(losses) == losses.index(min(losses)) + 3 < 40


ALL_AT_ONCE = {
    "schedule": "cosine",
    "warmup_share": 0.2,
    "clip_norm": 1.0,
    "accumulate": 2,
    "freeze": ["head.*"],
    "unfreeze_after": 1,
    "ema_decay": 0.9,
    "early_stop_epochs": 2,
}


def stopped_every(num_steps: int, job: TrainingJob, device: torch.device = CPU) -> int:
    """Train to the end, with a stop after each so many steps; gives the number of stops."""
    for num_stops in range(100):
        looks = (step == num_steps for step in range(1, 1_000))
        with suppress(TrainingStopped):
            train(job, rank=0, world_size=1, is_stopping=looks.__next__, device=device)
            return num_stops
    raise AssertionError("it made no progress")


@pytest.mark.parametrize("num_steps", [5, 12])
def test_a_training_that_is_stopped_again_and_again_gives_the_same_bits(num_steps, noisy, tmp_path):
    """In the first and in the last step of an epoch too, with all that draws at random and all that is chosen."""
    job = job_in(tmp_path / "stopped", spec=noisy.spec)
    assert stopped_every(num_steps, job) >= 36 // num_steps - 1
    assert not differing(job, noisy)
    assert [each.train_loss for each in history_of(job)] == [each.train_loss for each in history_of(noisy)]


@pytest.fixture(scope="module")
def noisy(tmp_path_factory: pytest.TempPathFactory) -> TrainingJob:
    choices = {**DIGITS.training.model_dump(), "num_epochs": 3, **ALL_AT_ONCE}
    spec = changed(spec_of("Noisy"), {"training": choices})
    job = job_in(tmp_path_factory.mktemp("noisy") / "job", spec=spec)
    train(job, rank=0, world_size=1)
    return job


def stopped_once(job: TrainingJob) -> dict[str, torch.Tensor]:
    """In the second epoch; gives what its newest checkpoint holds."""
    looks = iter(range(1, 1_000))
    with pytest.raises(TrainingStopped):
        train(job, rank=0, world_size=1, is_stopping=lambda: next(looks) == 15)
    return load_file(job.checkpoint_dir / "epoch-0001-step-000003" / "tensors.safetensors")


@pytest.mark.parametrize(
    ("task", "freeze", "left_out"),
    [
        pytest.param("Odd", {"freeze": ["head.*"]}, {"frozen", "head"}, id="by-class-and-by-task"),
        pytest.param("Odd", {"freeze": ["head.*"], "unfreeze_after": 2}, {"frozen"}, id="trained-later"),
        pytest.param("Moving", {}, set(), id="moved-by-its-class"),
    ],
)
def test_a_checkpoint_leaves_out_what_no_step_changes_and_gives_the_same_bits(task, freeze, left_out, tmp_path):
    training = {**DIGITS.training.model_dump(), "num_epochs": 3, "ema_decay": 0.9, **freeze}
    spec = changed(spec_of(task), {"training": training})
    job, whole = job_in(tmp_path / "stopped", spec=spec), job_in(tmp_path / "whole", spec=spec)
    held = {name.split(".")[0] for name in stopped_once(job)}
    for part in ("network", "best", "average"):
        assert {f"{part}/{name}" for name in {"norm", "unused", "frozen", "head"} - left_out} <= held
        assert not {f"{part}/{name}" for name in left_out} & held
    for each in (job, whole):
        train(each, rank=0, world_size=1)
    assert not differing(job, whole)


def test_a_checkpoint_is_not_taken_where_the_frozen_weights_are_others(tmp_path, caplog):
    odd = spec_of("Odd")
    first = job_in(tmp_path / "first", spec=odd)
    stopped_once(first)
    other = changed(odd, {"training": {**odd.training.model_dump(), "seed": 1}})
    whole = job_in(tmp_path / "whole", spec=other)
    mixed = job_in(tmp_path / "mixed", spec=other).model_copy(update={"checkpoint_dir": first.checkpoint_dir})
    for each in (mixed, whole):
        train(each, rank=0, world_size=1)
    assert "the checkpoint of step 3 of epoch 2 is not taken: the frozen weights were others" in caplog.text
    assert not differing(mixed, whole)


@pytest.mark.parametrize(
    ("every", "made"),
    [
        pytest.param({}, ["epoch-0001", "epoch-0002"], id="a-minute"),
        pytest.param({"checkpoint_every_steps": 7}, ["epoch-0001-step-000009", "epoch-0002"], id="steps"),
        pytest.param({"checkpoint_every_s": 1e-9}, ["epoch-0001-step-000011", "epoch-0002"], id="time"),
        pytest.param({"checkpoint_every_s": None}, ["epoch-0001", "epoch-0002"], id="epochs-alone"),
    ],
)
def test_checkpoints_are_made_within_an_epoch_by_steps_and_by_time(every, made, tmp_path):
    job = trained(tmp_path / "job", num_epochs=2, **every)
    assert sorted(path.name for path in job.checkpoint_dir.iterdir()) == made


def test_bfloat16_learns_and_leaves_32_bits(tmp_path):
    job = trained(tmp_path / "job", precision="bf16")
    assert {value.dtype for value in load_weights(job.model_path).values()} == {torch.float32}
    last: EpochMetrics = history_of(job)[-1]
    assert last.val_accuracy is not None and last.val_accuracy > 0.6


def test_steps_are_timed_and_a_choice_that_cannot_be_trained_is_told(tmp_path, monkeypatch):
    choices = (PaceChoice(), PaceChoice(communication=CommunicationSpec(compress="bf16")))
    compiled = PaceChoice(compile="on")
    monkeypatch.setenv("PATH", str(tmp_path))  # without a compiler

    def paces_of(folder: Path, **training: Any) -> Paces:
        spec = changed(DIGITS, {"training": {**DIGITS.training.model_dump(), "world_size": 1, **training}})
        given = (*choices, compiled)
        job = PaceJob(training=job_in(folder, spec=spec), choices=given, choice_s=0.02, paces_path=folder / "paces")
        return measure_paces(job, rank=0, world_size=1)

    found = paces_of(tmp_path / "fine")
    *fine, last = found.paces
    assert [each.choice for each in fine] == [*choices]
    assert all(each.step_s is not None and 0 < each.step_s < 10 and each.num_steps >= 8 for each in fine)
    assert last.step_s is None and "there is no `g++` on PATH" in last.refusal
    assert (found.num_steps, found.num_parameters, found.paces[0].refusal) == (12, 9_930, "")
    assert not (tmp_path / "fine" / "model").exists() and not (tmp_path / "fine" / "history.jsonl").exists()
    wild = paces_of(tmp_path / "wild", learning_rate=1e30)
    assert [each.step_s for each in wild.paces] == [None, None, None]
    assert all("the loss is" in each.refusal for each in wild.paces[:2])


COMPILED = {"num_epochs": 2, "batch_size": 40, "compile": "on", "world_size": 1}
"""400 rows in batches of 40: one shape, so one graph to compile."""


@pytest.mark.whole  # compiling takes 40 s of CPU
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler")
def test_a_compiled_training_that_is_stopped_gives_the_same_bits(tmp_path):
    """With batch normalization, dropout and a layer that is not used; the restart finds what was compiled."""
    odd = spec_of("Odd")
    spec = changed(odd, {"training": {**odd.training.model_dump(), **COMPILED}})
    environment = tmp_path / "environment.json"
    whole = job_in(tmp_path / "whole", spec=spec).model_copy(update={"environment_path": environment})
    train(whole, rank=0, world_size=1)
    compiled = tmp_path / "whole" / "compiled"
    assert list(compiled.rglob("*.so")), "it was compiled"
    assert "g++" in json.loads(environment.read_text())["compiler"]
    stopped = job_in(tmp_path / "stopped", spec=spec)
    (tmp_path / "stopped" / "compiled").symlink_to(compiled)
    assert stopped_every(15, stopped) == 1, "in the middle of the second epoch"
    assert not differing(stopped, whole)
    assert [each.train_loss for each in history_of(stopped)] == [each.train_loss for each in history_of(whole)]


@pytest.mark.parametrize(
    ("compiled", "says"),
    [
        pytest.param("on", r"compile` of 'digits' is on: .*no `g\+\+` on PATH.*`compile: off`", id="no-compiler"),
        pytest.param("graph", "CUDA graphs need a GPU", id="no-gpu"),
    ],
)
def test_a_machine_that_cannot_compile_refuses_at_the_start(compiled, says, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(PolicyError, match=says):
        trained(tmp_path / "job", compile=compiled)
    assert not (tmp_path / "job" / "start.json").exists()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine")
@pytest.mark.parametrize("precision", ["fp32", "tf32", "bf16"])
def test_a_training_on_a_gpu_that_is_stopped_gives_the_same_bits_and_a_model_for_any_machine(tmp_path, precision):
    noisy = spec_of("Noisy")
    choices = {**noisy.training.model_dump(), **ALL_AT_ONCE, "num_epochs": 2, "world_size": 1, "precision": precision}
    whole, stopped = (
        job_in(tmp_path / name, spec=changed(noisy, {"training": choices})) for name in ("whole", "stopped")
    )
    gpu = torch.device("cuda:0")
    train(whole, rank=0, world_size=1, device=gpu)
    assert stopped_every(5, stopped, device=gpu) >= 3
    assert not differing(whole, stopped)
    assert {value.device.type for value in load_weights(whole.model_path).values()} == {"cpu"}


def test_tf32_on_a_cpu_gives_the_bits_of_fp32(plain, tmp_path):
    assert not differing(trained(tmp_path / "job", precision="tf32"), plain)
