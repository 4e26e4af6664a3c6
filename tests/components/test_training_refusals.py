"""Tasks that cannot train, each refused by name before or at the step that shows it. One process, no torchrun."""

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist

from ratchet.core.errors import DataRejected
from ratchet.tasks.model_files import load_weights
from ratchet.training.checkpoint import TrainingState, restore_checkpoint, save_checkpoint
from ratchet.training.checkpoint_places import Place, newest_checkpoint
from ratchet.training.checks import check_metrics, check_weights
from ratchet.training.job import StartRecord
from ratchet.training.loop import train
from tests.components.test_training import job_in, spec_of
from tests.models import DIGITS


@pytest.fixture(autouse=True)
def alone(tmp_path):
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    yield
    dist.destroy_process_group()
    torch.set_num_threads(num_threads)


@pytest.mark.parametrize(
    ("task", "says"),
    [
        pytest.param("Untrainable", r"Untrainable\.build_model .* no parameter can be trained: 6 param", id="frozen"),
        pytest.param("Lazy", r"Lazy\.build_model: 1\.weight, 1\.bias have no size yet", id="lazy-layers"),
        pytest.param("NoLogits", r"NoLogits\.build_model returned float32 of shape \[34, 7\].*\[34, 10\]", id="logits"),
        pytest.param("LossOfEachRow", r"LossOfEachRow\.loss returned float32 of shape \[34\]", id="loss-of-each-row"),
        pytest.param("LossAsNumber", r"LossAsNumber\.loss returned a float", id="loss-is-no-tensor"),
        pytest.param("DetachedLoss", r"DetachedLoss\.loss .* depends on no trainable parameter", id="detached-loss"),
        pytest.param(
            "LogOfZero", r"LogOfZero\.preprocess .* not finite, first for row 0 of 400", id="inputs-not-finite"
        ),
        pytest.param("HalfTheRows", r"HalfTheRows\.preprocess .* \[200, 1, 8, 8\] for 400 rows", id="rows-lost"),
        pytest.param("NanOnOneWorker", r"epoch 1 of 4, step 5: the loss is nan.*from 0 to 1", id="nan-in-training"),
        pytest.param(
            "NanInValidation", r"epoch 1 of 4: the loss on the validation rows is inf", id="inf-in-validation"
        ),
        pytest.param("InfiniteAnswers", r"InfiniteAnswers\.build_model gives class probabilities", id="inf-answers"),
    ],
)
def test_what_no_retry_can_mend_is_refused_by_class_and_method(task, says, tmp_path):
    job = job_in(tmp_path / "job", spec=spec_of(task))
    with pytest.raises(DataRejected, match=says):
        train(job, rank=0, world_size=1)
    assert not job.model_path.exists()


@pytest.mark.parametrize(
    ("metrics", "says"),
    [
        pytest.param({"f1": 0.5}, r'metrics: "accuracy" is missing; there are f1', id="no-accuracy"),
        pytest.param({"accuracy": 97.0}, r'"accuracy" is 97\.0; it must be a number from 0 to 1', id="per-cent"),
        pytest.param({"accuracy": 0.5, "f1": float("nan")}, "'f1' is nan; every metric", id="nan"),
        pytest.param(0.5, "metrics returned a float", id="no-dict"),
        pytest.param(None, r"metrics returned nothing \(None\)", id="forgotten-return"),
    ],
)
def test_metrics_that_cannot_be_compared_are_refused(metrics, says):
    with pytest.raises(DataRejected, match=says):
        check_metrics(metrics, spec=DIGITS)


def test_metrics_of_numpy_are_numbers():
    assert check_metrics({"accuracy": np.float32(0.5)}, spec=DIGITS) == {"accuracy": 0.5}


def test_weights_that_are_not_finite_are_named():
    with pytest.raises(DataRejected, match=r"1 of 3 numbers of head\.bias are not finite"):
        check_weights({"head.bias": torch.tensor([1.0, float("inf"), 2.0])}, spec=DIGITS)


def state_of(*, seed: int) -> TrainingState:
    """Two groups of parameters; the first layer is frozen, the last one in no loss."""
    torch.manual_seed(seed)
    network = torch.nn.Sequential(
        torch.nn.Linear(3, 4).requires_grad_(False),
        torch.nn.BatchNorm1d(4),
        torch.nn.Linear(4, 2),
        torch.nn.Linear(2, 2),
    )
    groups: list[dict[str, object]] = [
        {"params": network[:2].parameters(), "lr": 0.1},
        {"params": network[2:].parameters()},
    ]
    weights = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    return TrainingState(network, torch.optim.AdamW(groups, lr=0.01), weights)


def step(state: TrainingState) -> None:
    state.network[:3](torch.arange(12.0).reshape(4, 3)).square().sum().backward()  # type: ignore[index]
    state.optimizer.step()
    state.optimizer.zero_grad()


def test_a_checkpoint_restores_whatever_has_optimizer_state_and_whatever_has_none(tmp_path: Path):
    saved, restored = state_of(seed=1), state_of(seed=2)
    step(saved)
    (tmp_path / "history").write_text("")
    save_checkpoint(saved, tmp_path, place=Place(1), history_path=tmp_path / "history")
    place, folder = newest_checkpoint(tmp_path) or (Place(0), tmp_path)
    assert place == Place(1)
    restore_checkpoint(restored, folder)
    assert len(restored.optimizer.state_dict()["state"]) == 4
    for state in (saved, restored):
        step(state)
    for name, tensor in saved.network.state_dict().items():
        assert torch.equal(tensor, restored.network.state_dict()[name]), name


def test_layers_with_tied_weights_are_trained_saved_and_taken_over(tmp_path: Path):
    first = job_in(tmp_path / "first", spec=spec_of("Tied"))
    train(first, rank=0, world_size=1)
    second = job_in(tmp_path / "second", spec=spec_of("Tied"), base=first.model_path)
    train(second, rank=0, world_size=1)
    weights = load_weights(second.model_path)
    assert torch.equal(weights["1.weight"], weights["3.weight"])
    start = StartRecord.model_validate_json(second.start_path.read_bytes())
    assert start.text() == "6 of 6 tensors of the base model taken over"
