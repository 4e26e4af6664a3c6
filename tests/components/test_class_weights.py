"""Class weights and label smoothing, through the learners of the kinds. One process, no torchrun."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ratchet.core.errors import PolicyError
from ratchet.tasks.bound import TorchTask
from ratchet.tasks.kinds.outputs import Target
from ratchet.tasks.model_files import load_model, load_weights
from ratchet.tasks.spec import TaskSpec
from ratchet.training.job import TrainingJob
from ratchet.training.loop import train
from ratchet.training.split_rows import read_split
from ratchet.training.weighting import weigh
from tests.components.learning import one_worker, task_of, trained
from tests.components.test_training import job_in, spec_of
from tests.models import changed

OUTPUT = {"name": "late", "type": "category", "classes": ["no", "yes"]}


@pytest.fixture(scope="module", autouse=True)
def worker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with one_worker(tmp_path_factory.mktemp("worker")):
        yield


def rows(num_rows: int = 600) -> list[dict[str, Any]]:
    """One in ten is late; the distance tells it in part."""
    draw = np.random.default_rng(0)
    made = []
    for row in range(num_rows):
        is_late = row % 10 == 0
        distance = float(draw.normal(loc=1.5 * is_late))
        made.append({"id": f"r{row}", "inputs": {"distance": distance}, "label": "yes" if is_late else "no"})
    return made


def flights(kind: str, **training: Any) -> TaskSpec:
    epochs = {} if kind == "trees" else {"num_epochs": 6, "batch_size": 32, "learning_rate": 0.05}
    model = {"num_trees": 20} if kind == "trees" else {"hidden": [], "dropout": 0.0}
    inputs = [{"name": "distance", "type": "number"}]
    return task_of(kind, inputs, OUTPUT, model=model, training={**epochs, **training})


def share_of_late(job: TrainingJob) -> float:
    """Of the training rows that the model calls late."""
    inputs, _ = read_split(job.train_path, job.spec)
    return float(np.mean(np.array(load_model(job.model_path).answer(inputs).texts) == "yes"))


@pytest.mark.parametrize("kind", ["tabular", "trees"])
def test_a_rare_class_is_answered_when_it_counts_as_much_as_the_others(kind: str, tmp_path: Path) -> None:
    plain = trained(tmp_path / "plain", flights(kind), rows())
    balanced = trained(tmp_path / "balanced", flights(kind, class_weights="balanced"), rows())
    assert share_of_late(plain) < 0.1 < share_of_late(balanced) < 0.6


def test_weights_that_are_all_alike_change_nothing(tmp_path: Path) -> None:
    plain = trained(tmp_path / "plain", flights("tabular"), rows())
    alike = trained(tmp_path / "alike", flights("tabular", class_weights={"no": 3, "yes": 3}), rows())
    ours, theirs = load_weights(alike.model_path), load_weights(plain.model_path)
    assert all(torch.allclose(ours[name], theirs[name], atol=1e-5) for name in ours)


def test_the_loss_of_a_batch_is_the_mean_of_its_parts() -> None:
    """As accumulation and several workers have it: a row counts alike in whichever part it comes."""
    spec = flights("tabular", class_weights="balanced", label_smoothing=0.1)
    labels = torch.tensor([0, 0, 0, 1, 0, 0, 1, 0])
    outputs = torch.randn(8, 2, generator=torch.Generator().manual_seed(0))
    loss = weigh(TorchTask(spec, Target(spec, loss=None)), labels).loss
    parts = [float(loss(outputs[part : part + 4], labels[part : part + 4])) for part in (0, 4)]
    assert np.mean(parts) == pytest.approx(float(loss(outputs, labels)))


def test_smoothed_labels_make_a_model_less_certain(tmp_path: Path) -> None:
    plain = trained(tmp_path / "plain", flights("tabular"), rows())
    smooth = trained(tmp_path / "smooth", flights("tabular", label_smoothing=0.3), rows())
    inputs, _ = read_split(plain.train_path, plain.spec)
    certain, less = (load_model(job.model_path).answer(inputs).scores_BK for job in (plain, smooth))
    assert certain is not None and less is not None and less.max(axis=1).mean() < certain.max(axis=1).mean() - 0.05


@pytest.mark.parametrize("name", ["class_weights", "label_smoothing"])
def test_a_class_whose_loss_does_not_take_them_refuses_them_by_name(name: str, tmp_path: Path) -> None:
    odd, asked = spec_of("Odd"), {"class_weights": "balanced", "label_smoothing": 0.1}[name]
    job = job_in(tmp_path / "job", spec=changed(odd, {"training": {**odd.training.model_dump(), name: asked}}))
    with pytest.raises(PolicyError, match=rf"training\.{name} of 'digits': tests\.training_tasks:Odd\.loss does not"):
        train(job, rank=0, world_size=1)
