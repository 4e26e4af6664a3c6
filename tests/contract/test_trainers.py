"""One contract for both ways to run the workers of a training: torchrun in the pod of the step, and a TrainJob over two
nodes, which the embedded control plane runs."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from functools import partial
from pathlib import Path

import psutil
import pytest

from ratchet.adapters.kubernetes_api import KubernetesApi
from ratchet.adapters.torchrun import LAUNCHER, TorchrunTrainer
from ratchet.adapters.train_job import TrainJobTrainer
from ratchet.core.errors import DataRejected, PolicyError, Unavailable
from ratchet.core.models.resources import Accelerator, ResourcePolicy, Toleration
from ratchet.core.ports import Trainer
from ratchet.training.job import TrainingJob
from tests.components.test_training import job_in, run, spec_of
from tests.embedded.serving_world import wait_for
from tests.embedded.training_world import TrainingWorld, environment_of, started_world
from tests.listening import listening_addresses
from tests.models import DIGITS, changed

NAME = "ratchet-contract"
RESOURCES = ResourcePolicy(memory="64Mi", node_selector={"disk": "ssd"}, tolerations=(Toleration(operator="Exists"),))


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TrainingWorld]:
    with started_world(tmp_path_factory.mktemp("training")) as world:
        yield world


def train_job_trainer(world: TrainingWorld, resources: ResourcePolicy = RESOURCES) -> TrainJobTrainer:
    api = KubernetesApi(world.url, token=lambda: "t", namespace="default")
    return TrainJobTrainer(api, name=NAME, task="digits", num_nodes=2, runtime="torch-distributed", resources=resources)


@pytest.fixture(params=["torchrun", "train-job"])
def trainer(request: pytest.FixtureRequest, world: TrainingWorld) -> Trainer:
    return TorchrunTrainer() if request.param == "torchrun" else train_job_trainer(world)


@pytest.fixture(scope="module")
def digest(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Of the model that two workers of one machine make."""
    return run(job_in(tmp_path_factory.mktemp("one-machine") / "job"))


def test_two_workers_make_the_same_bits_wherever_they_run(trainer: Trainer, digest: str, tmp_path: Path):
    job = job_in(tmp_path / "job")
    assert run(job, trainer) == digest
    assert "epoch 1/" in (tmp_path / "job" / "log.txt").read_text()


def test_an_exception_of_the_task_is_raised_as_its_worker_wrote_it_down(trainer: Trainer, tmp_path: Path):
    job = job_in(tmp_path / "job", spec=changed(DIGITS, {"implementation": "tests.broken_tasks:FailsInOneWorker"}))
    with pytest.raises(PolicyError, match=r"KeyError: 'missing' .*in loss\) \(worker 1 of 2\)"):
        run(job, trainer)


def test_nodes_that_ask_for_more_than_there_is_are_refused_at_once(world: TrainingWorld, tmp_path: Path):
    asked = ResourcePolicy(accelerator=Accelerator(type="example.com/dongle", count=2))
    with pytest.raises(
        DataRejected, match=r"2 nodes ask for 4 x example\.com/dongle; this machine has 0\. Ask for less"
    ):
        run(job_in(tmp_path / "job"), train_job_trainer(world, asked))


def test_a_training_listens_on_loopback_and_is_ended_with_all_its_processes_when_it_takes_too_long(
    trainer: Trainer, tmp_path: Path
):
    job = job_in(tmp_path / "job", spec=spec_of("Slow"))
    start = partial(
        trainer.run,
        module="ratchet.training.worker",
        spec_path=tmp_path / "job" / "job.json",
        world_size=2,
        log_path=tmp_path / "log.txt",
        failure_path=job.failure_path,
        timeout_s=12,  # two nodes import torch in 8 s on two busy cores
    )
    with ThreadPoolExecutor(max_workers=1) as pool:
        training, listening = pool.submit(start), set()
        while not training.done():
            listening |= listening_addresses(child.pid for child in psutil.Process().children(recursive=True))
            wait([training], timeout=0.2)
        with pytest.raises(Unavailable, match="did not end in 12 s"):
            training.result()
    assert listening == {"127.0.0.1"}
    assert workers_of(job) == []


@pytest.mark.whole  # each node is started again six times over: a minute
def test_workers_that_end_without_a_word_are_said_to_have_failed(
    trainer: Trainer, tmp_path: Path, world: TrainingWorld
):
    with pytest.raises(Unavailable, match=r"No module named ratchet\.training\.no_such_worker"):
        trainer.run(
            module="ratchet.training.no_such_worker",
            spec_path=tmp_path / "job.json",
            world_size=2,
            log_path=tmp_path / "log.txt",
            failure_path=tmp_path / "failure.json",
            timeout_s=300,
        )


def test_a_repeated_step_ends_the_nodes_of_its_attempt_before_and_leaves_no_job(
    world: TrainingWorld, digest: str, tmp_path: Path
):
    world.create(NAME, ["/bin/sh", "-c", "echo began; sleep 600"])
    wait_for(lambda: world.logs(NAME) == ["began\n"], "the attempt before")
    pids = world.pids(NAME)
    assert run(job_in(tmp_path / "job"), train_job_trainer(world)) == digest
    assert not any(map(environment_of, pids))
    assert [job["metadata"]["name"] for job in world.jobs()] == [] and world.pods(NAME) == []


def workers_of(job: TrainingJob) -> list[int]:
    """Pids of its workers; not of what started them."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().decode(errors="replace").split("\0")
        except OSError:  # it has just ended
            continue
        if str(job.model_path.parent / "job.json") in words and LAUNCHER not in words:
            found.append(int(path.parent.name))
    return sorted(found)
