"""Real trainings under torchrun: they learn, they give the same bits, and a killed worker costs nothing."""

import os
import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from ratchet.adapters.child_process import ChildProcessTrainer
from ratchet.adapters.torchrun import TorchrunTrainer
from ratchet.core.errors import DataRejected, PolicyError, Unavailable
from ratchet.core.models.training_history import EpochMetrics
from ratchet.core.models.training_progress import TrainingProgress
from ratchet.core.ports import Trainer
from ratchet.tasks.identity import model_digest
from ratchet.tasks.model_files import load_model, load_weights
from ratchet.tasks.spec import TaskSpec
from ratchet.training.job import TrainingJob
from ratchet.training.stopping import stop_path_of
from tests.models import DIGITS, changed, digit_rows


def job_in(folder: Path, *, spec: TaskSpec = DIGITS, base: Path | None = None) -> TrainingJob:
    folder.mkdir()
    pq.write_table(pa.Table.from_pylist(digit_rows(0, 400)), folder / "train.parquet")
    pq.write_table(pa.Table.from_pylist(digit_rows(400, 500)), folder / "val.parquet")
    job = TrainingJob(
        spec=spec,
        train_path=folder / "train.parquet",
        val_path=folder / "val.parquet",
        base_model_path=base,
        checkpoint_dir=folder / "checkpoints",
        model_path=folder / "model",
        start_path=folder / "start.json",
        history_path=folder / "history.jsonl",
        failure_path=folder / "failure.json",
        progress_path=folder / "progress.json",
    )
    (folder / "job.json").write_text(job.model_dump_json())
    return job


def spec_of(name: str) -> TaskSpec:
    return changed(DIGITS, {"implementation": f"tests.training_tasks:{name}"})


def run(job: TrainingJob, trainer: Trainer | None = None) -> str:
    folder = job.model_path.parent
    (trainer or TorchrunTrainer()).run(
        module="ratchet.training.worker",
        spec_path=folder / "job.json",
        world_size=job.spec.training.world_size,
        log_path=folder / "log.txt",
        failure_path=job.failure_path,
        timeout_s=120,
    )
    return model_digest(job.model_path)


def history_of(job: TrainingJob) -> list[EpochMetrics]:
    return [EpochMetrics.model_validate_json(line) for line in job.history_path.read_text().splitlines()]


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> TrainingJob:
    job = job_in(tmp_path_factory.mktemp("training") / "first")
    run(job)
    return job


def test_a_training_learns_the_digits(trained):
    accuracy = history_of(trained)[-1].val_accuracy
    assert accuracy is not None
    assert accuracy > 0.6


def test_a_training_tells_how_far_it_is_and_what_it_took(trained):
    assert trained.progress_path is not None
    told = TrainingProgress.model_validate_json(trained.progress_path.read_bytes())
    assert told.epoch <= told.num_epochs == DIGITS.training.num_epochs
    assert 1 <= told.step <= told.num_steps == 12, "400 rows in batches of about 32"
    assert told.loss is not None and told.rows_per_s is not None and told.left_s is not None
    for each in history_of(trained):
        assert each.peak_memory_mb is not None and each.peak_memory_mb > 100, "torch alone takes that"
        assert each.wait_ratio is not None and 0 < each.wait_ratio < 1
        assert each.resumed_at_step is None


@pytest.mark.whole
def test_a_killed_worker_resumes_and_gives_the_same_bits_with_frozen_unused_and_normalized_layers(tmp_path):
    """Within an epoch; with dropout, a layer without optimizer state, and one that is unfrozen where it dies: all
    that a checkpoint does not see by itself."""
    choices = {
        "schedule": "cosine",
        "warmup_share": 0.2,
        "clip_norm": 1.0,
        "accumulate": 2,
        "freeze": ["head.*"],
        "unfreeze_after": 2,
        "ema_decay": 0.9,
        "early_stop_epochs": 4,
        "checkpoint_every_steps": 5,
    }
    noisy = spec_of("Noisy")
    spec = changed(noisy, {"training": {**noisy.training.model_dump(), **choices}})
    whole, killed = job_in(tmp_path / "whole", spec=spec), job_in(tmp_path / "killed", spec=spec)
    digest = run(whole)
    killer = threading.Thread(target=kill_a_worker_after, args=(killed, "epoch-0002-step-000001"))
    killer.start()
    assert run(killed) == digest
    killer.join()
    log = (tmp_path / "killed" / "log.txt").read_text()
    assert "does not use unused.weight, unused.bias" in log
    assert "going on after" in log and "epoch 4/4" in log
    assert log.count("epoch 1/4") == 1
    resumed = [each.epoch for each in history_of(killed) if each.resumed_at_step is not None]
    assert len(resumed) == 1 and resumed[0] >= 3, "it was killed in the third epoch or, at the latest, the next"


@pytest.mark.whole
def test_one_worker_gives_the_same_bits_with_and_without_torchrun_though_it_is_killed(tmp_path):
    alone = DIGITS.model_copy(update={"training": DIGITS.training.model_copy(update={"world_size": 1})})
    whole, killed = job_in(tmp_path / "whole", spec=alone), job_in(tmp_path / "killed", spec=alone)
    digest = run(whole)
    killer = threading.Thread(target=kill_a_worker_after, args=(killed, "epoch-0002"))
    killer.start()
    assert run(killed, ChildProcessTrainer()) == digest
    killer.join()
    assert (tmp_path / "killed" / "log.txt").read_text().count("epoch 1/") == 1


def kill_a_worker_after(job: TrainingJob, checkpoint: str) -> None:
    wait_for(lambda: (job.checkpoint_dir / checkpoint).exists())
    os.kill(pids_of(job)[-1], signal.SIGKILL)


def wait_for(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 120
    while not is_so() and time.monotonic() < deadline:
        time.sleep(0.005)


def pids_of(job: TrainingJob) -> list[int]:
    """Processes of this job: torchrun, where it is there (its command line holds `--nproc-per-node`), then workers."""
    mark, found = str(job.model_path.parent / "job.json"), []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):  # it has just ended
            words = path.read_bytes().decode(errors="replace").split("\0")
            if mark in words:
                found.append((not any(word.startswith("--nproc-per-node") for word in words), int(path.parent.name)))
    return [pid for _, pid in sorted(found)]


def test_finetuning_starts_from_the_base_models_weights(trained, tmp_path):
    spec = DIGITS.model_copy(update={"training": DIGITS.training.model_copy(update={"num_epochs": 1})})
    job = job_in(tmp_path / "finetuned", spec=spec, base=trained.model_path)
    run(job)
    assert history_of(job)[0].train_loss < history_of(trained)[0].train_loss / 2
    assert load_model(job.model_path).digest != model_digest(trained.model_path)


def test_one_worker_and_two_learn_the_same(trained, tmp_path):
    """From the same rows in the same order. What differs is the order of a few sums, which the steps carry on."""
    alone = changed(DIGITS, {"training": {**DIGITS.training.model_dump(), "world_size": 1}})
    job = job_in(tmp_path / "alone", spec=alone)
    run(job)
    ours, theirs = load_weights(job.model_path), load_weights(trained.model_path)
    assert all(torch.allclose(ours[name], theirs[name], atol=2e-3) for name in ours)
    assert [each.train_loss for each in history_of(job)] == pytest.approx(
        [each.train_loss for each in history_of(trained)], rel=1e-4
    )


@pytest.mark.parametrize("trainer", [TorchrunTrainer(), ChildProcessTrainer()], ids=["torchrun", "one-process"])
def test_a_training_that_fails_says_why(tmp_path, trainer):
    with pytest.raises(Unavailable, match=r"after 2 restarts.*No module named ratchet\.training\.no_such_worker"):
        trainer.run(
            module="ratchet.training.no_such_worker",
            spec_path=tmp_path / "job.json",
            world_size=1,
            log_path=tmp_path / "log.txt",
            failure_path=tmp_path / "failure.json",
            timeout_s=60,
        )


def test_what_no_restart_can_mend_is_said_once_in_words(tmp_path):
    job = job_in(tmp_path / "broken", base=tmp_path / "nothing-here")
    with pytest.raises(DataRejected, match=r"no model\.safetensors"):
        run(job)
    assert "no model.safetensors" in job.failure_path.read_text()


def test_an_exception_of_the_task_in_one_worker_ends_the_training_at_once_with_its_line(tmp_path):
    spec = changed(DIGITS, {"implementation": "tests.broken_tasks:FailsInOneWorker"})
    job = job_in(tmp_path / "broken", spec=spec)
    with pytest.raises(
        PolicyError, match=r"KeyError: 'missing' \(.*broken_tasks\.py, line \d+, in loss\) \(worker 1 of 2\)"
    ):
        run(job)
    log = (tmp_path / "broken" / "log.txt").read_text()
    assert log.count("worker 1 of 2 failed") == 1, "torchrun restarted what no restart can mend"
    assert log.count(" failed: ") == 1, "the worker that lost its peer is no second failure"


def test_a_loss_that_is_not_finite_on_one_worker_ends_all_at_once_and_is_not_retried(tmp_path):
    job = job_in(tmp_path / "nan", spec=spec_of("NanOnOneWorker"))
    with pytest.raises(DataRejected, match=r"epoch 1 of 4, step 5: the loss is nan.*rate 0\.003.*NanOnOneWorker\.loss"):
        run(job)
    assert not job.model_path.exists()
    assert (tmp_path / "nan" / "log.txt").read_text().count("worker 0 of 2 failed") == 1


@pytest.mark.whole
def test_sigterm_to_a_whole_pod_lets_all_workers_end_at_one_step_with_a_checkpoint(tmp_path):
    """torchrun and each worker get it too, as when a pod is evicted."""
    slow = spec_of("Slow")
    job = job_in(tmp_path / "job", spec=changed(slow, {"training": {**slow.training.model_dump(), "num_epochs": 99}}))

    def stop_all() -> None:
        wait_for(lambda: (job.checkpoint_dir / "epoch-0001").exists())
        for pid in [os.getpid(), *pids_of(job)]:
            os.kill(pid, signal.SIGTERM)

    stopper = threading.Thread(target=stop_all)
    stopper.start()
    with pytest.raises(Unavailable, match=r"did after step \d+ of epoch \d+ of 99\. A checkpoint is written"):
        run(job)
    stopper.join()
    assert list(job.checkpoint_dir.glob("epoch-*-step-*")) and not pids_of(job)


@pytest.mark.whole
def test_three_workers_that_are_stopped_sum_on_in_the_same_order(tmp_path):
    """Of two numbers the order is all one."""
    wide = spec_of("Wide")
    spec = changed(wide, {"training": {**wide.training.model_dump(), "world_size": 3, "num_epochs": 1}})
    whole, stopped = job_in(tmp_path / "whole", spec=spec), job_in(tmp_path / "stopped", spec=spec)
    stop_path_of(stopped.failure_path).touch()
    with pytest.raises(Unavailable, match="did after step 1 of epoch 1 of 1"):
        run(stopped)
    for path in (stop_path_of(stopped.failure_path), stopped.failure_path):
        path.unlink()
    assert run(stopped) == run(whole)


def test_a_training_beyond_its_time_is_stopped(tmp_path):
    job = job_in(tmp_path / "slow")
    with pytest.raises(Unavailable, match="did not end in 1 s"):
        TorchrunTrainer().run(
            module="ratchet.training.worker",
            spec_path=tmp_path / "slow" / "job.json",
            world_size=2,
            log_path=tmp_path / "log.txt",
            failure_path=tmp_path / "failure.json",
            timeout_s=1,
        )
    assert not job.model_path.exists()
