"""`training.communication`: what it does to the weights, and that a stopped training ends with the same bits."""

from pathlib import Path
from typing import Any

import pytest
import torch

from ratchet.actions.models.pacing import measure_communication
from ratchet.adapters.torchrun import TorchrunTrainer
from ratchet.core.errors import PolicyError
from ratchet.tasks.identity import model_digest
from ratchet.tasks.model_files import load_weights
from ratchet.tasks.training_spec import CommunicationSpec
from ratchet.training.checks import likely_reasons_of
from ratchet.training.job import TrainingJob
from tests.components.test_training import history_of, job_in, spec_of
from tests.models import DIGITS, changed

CHOICES: dict[str, dict[str, Any]] = {
    "plain": {},
    "bf16": {"compress": "bf16"},
    "fp16": {"compress": "fp16", "bucket_mb": 0.1},
    "powersgd": {"compress": "powersgd", "bucket_mb": 0.1, "static_graph": True},
}
MEASURED = {2: ("plain", "bf16", "powersgd"), 3: tuple(CHOICES)}
STOPPED = {2: ("powersgd",), 3: tuple(CHOICES)}
"""By the number of workers: with two, what keeps something from step to step, as each start of a training takes 1 s."""


def jobs_in(folder: Path, *, world_size: int) -> dict[str, dict[str, TrainingJob]]:
    jobs: dict[str, dict[str, TrainingJob]] = {}
    for name in MEASURED[world_size]:
        communication = CHOICES[name]
        wide = spec_of("Wide")
        training = {"world_size": world_size, "num_epochs": 2, "communication": communication}
        if communication.get("static_graph"):
            training["accumulate"] = 2  # the parts of a batch travel with its last one
        spec = changed(wide, {"training": {**wide.training.model_dump(), **training}})
        (folder / name).mkdir()
        jobs[name] = {
            how: job_in(folder / name / how, spec=spec)
            for how in ("whole", "stopped")[: 1 + (name in STOPPED[world_size])]
        }
    return jobs


@pytest.fixture(
    scope="module",
    # Three sum in an order that matters; of two numbers it is all one.
    params=[pytest.param(2, id="two-workers"), pytest.param(3, id="three-workers", marks=pytest.mark.whole)],
)
def trained(request, tmp_path_factory) -> dict[str, dict[str, TrainingJob]]:
    folder = tmp_path_factory.mktemp("communication")
    jobs = jobs_in(folder, world_size=request.param)
    lines = [job.model_dump_json() for pair in jobs.values() for job in pair.values()]
    (folder / "jobs").write_text("\n".join(lines))
    TorchrunTrainer().run(
        module="tests.stopped_trainings",
        spec_path=folder / "jobs",
        world_size=request.param,
        log_path=folder / "log.txt",
        failure_path=folder / "failure.json",
        timeout_s=240,
    )
    return jobs


def test_a_stopped_training_ends_with_the_same_bits(trained):
    pairs = [jobs for jobs in trained.values() if "stopped" in jobs]
    assert len(pairs) >= 1 and all(num_stops_of(jobs["stopped"]) >= 2 for jobs in pairs)
    assert {num_stops_of(jobs["whole"]) for jobs in trained.values()} == {0}
    digests = [{how: model_digest(job.model_path) for how, job in jobs.items()} for jobs in pairs]
    assert [each["stopped"] for each in digests] == [each["whole"] for each in digests]


def num_stops_of(job: TrainingJob) -> int:
    return int(job.model_path.with_name("stops").read_text())


def test_what_is_left_out_of_a_gradient_moves_the_weights_little(trained):
    plain = trained["plain"]["whole"]
    ours, loss = load_weights(plain.model_path), history_of(plain)[0].train_loss
    for name in trained.keys() - {"plain"}:
        job = trained[name]["whole"]
        theirs = load_weights(job.model_path)
        assert any(not torch.equal(ours[each], theirs[each]) for each in ours), f"{name} did nothing"
        # PowerSGD leaves the most out; what it left out comes in the next step.
        assert history_of(job)[0].train_loss == pytest.approx(loss, rel=0.5 if name == "powersgd" else 0.02), name


@pytest.mark.whole
def test_each_choice_is_timed_with_the_tasks_workers():
    choices = [CommunicationSpec(), CommunicationSpec(compress="powersgd")]
    paces = measure_communication(DIGITS, TorchrunTrainer(), choices=choices, choice_s=0.1)
    assert [each.choice.communication for each in paces.paces] == choices
    assert all(each.step_s is not None and 0 < each.step_s < 10 for each in paces.paces), "some ms, on any machine"
    assert all(each.num_steps >= 8 and not each.refusal for each in paces.paces)
    assert (paces.num_steps, paces.num_parameters) == (4, 9_930)


def test_nothing_is_measured_where_nothing_travels():
    alone = changed(DIGITS, {"training": {**DIGITS.training.model_dump(), "world_size": 1}})
    with pytest.raises(PolicyError, match=r"has one worker, so no gradients travel.*--workers 2"):
        measure_communication(alone, TorchrunTrainer(), choices=[CommunicationSpec()], choice_s=1)


def test_a_loss_that_is_not_finite_names_fp16_where_it_may_be_the_reason():
    fp16 = changed(DIGITS, {"training": {**DIGITS.training.model_dump(), "communication": {"compress": "fp16"}}})
    assert "compress fp16 makes a gradient beyond 65,504 infinite" in likely_reasons_of(fp16)
    assert "fp16" not in likely_reasons_of(DIGITS)
