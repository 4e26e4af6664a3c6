"""`kind: text` with a pretrained encoder: what a training changes, what a model needs, and the same bits again."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from safetensors.torch import load_file

from ratchet.adapters.torchrun import TorchrunTrainer
from ratchet.core.models.task_checks import CheckResult
from ratchet.tasks.kinds.options import SentenceOptions
from ratchet.tasks.kinds.sentence_encoder import SentenceEncoder, SentenceNetwork, weights_from_bert
from ratchet.tasks.model_files import load_model
from ratchet.tasks.spec import TaskSpec
from ratchet.training.job import TrainingJob
from ratchet.training.learners import TorchLearner
from ratchet.training.task_check import check_task
from tests.components.learning import job_of, mails, measured, one_worker, start_of, task_of, trained
from tests.tiny_encoder import LAYERS, VOCABULARY, WIDTH, Tiny, bert_weights, write_package

BODY = [{"name": "body", "type": "text", "optional": True}]
KINDS = {"name": "kind", "type": "category", "classes": ["ham", "spam"]}


@pytest.fixture(scope="module", autouse=True)
def worker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with one_worker(tmp_path_factory.mktemp("worker")):
        yield


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = write_package(tmp_path / "site")
    monkeypatch.syspath_prepend(folder)
    return folder


def tiny_task(train: str = "head", *, of: str = "Tiny", **training: Any) -> TaskSpec:
    model = {"encoder": "minilm", "train": train, "tokens_max": 16, "dropout": 0.2}
    defaults = {"num_epochs": 4, "batch_size": 32, "learning_rate": 0.02 if train == "head" else 0.005}
    return task_of(f"tests.tiny_encoder:{of}", BODY, KINDS, model=model, training={**defaults, **training})


def weights_of(job: TrainingJob) -> dict[str, torch.Tensor]:
    return load_file(job.model_path / "model.safetensors")


@pytest.mark.parametrize(
    ("train", "changed", "at_least"),
    [
        pytest.param("head", set(), 0.75, id="head"),
        pytest.param("top-1", {"layers.1"}, 0.75, id="top-1"),
        pytest.param("full", {"layers.0", "layers.1", "norm", "positions", "tokens"}, 0.9, id="full"),
        pytest.param("lora", {"layers.0", "layers.1"}, 0.75, id="lora"),
    ],
)
def test_a_training_learns_and_changes_the_part_of_the_encoder_that_the_task_names(
    tmp_path: Path, package: Path, train: str, changed: set[str], at_least: float
) -> None:
    job = trained(tmp_path / "job", tiny_task(train), mails(400, 0))
    assert measured(job, mails(200, 1), "accuracy") > at_least
    start, after = weights_from_bert(bert_weights(), LAYERS), weights_of(job)
    names = {name for name, weight in start.items() if not torch.equal(weight, after[f"encoder.{name}"])}
    assert {".".join(name.split(".")[: 2 if "layers" in name else 1]) for name in names} == changed


def test_what_a_low_rank_adaptation_learned_lies_beside_the_model_too(tmp_path: Path, package: Path) -> None:
    job = trained(tmp_path / "job", tiny_task("lora", num_epochs=1), mails(100, 0))
    adapter = load_file(job.model_path / "beside" / "adapter_model.safetensors")
    layers = {name.removeprefix("base_model.model.encoder.").rpartition(".lora_")[0] for name in adapter}
    parts = ("query_key_value", "attended", "inner", "outer")
    assert layers == {f"layers.{number}.{part}" for number in range(LAYERS) for part in parts}
    before, after = weights_from_bert(bert_weights(), LAYERS), weights_of(job)
    config = json.loads((job.model_path / "beside" / "adapter_config.json").read_bytes())
    for layer in layers:
        down_RI, up_OR = (adapter[f"base_model.model.encoder.{layer}.lora_{part}.weight"] for part in "AB")
        merged = before[f"{layer}.weight"] + config["lora_alpha"] / config["r"] * (up_OR @ down_RI)
        torch.testing.assert_close(after[f"encoder.{layer}.weight"], merged)
    assert set(load_file(job.model_path / "model.safetensors")) == set(
        weights_of(trained(tmp_path / "head", tiny_task(num_epochs=1), mails(100, 0)))
    )


def test_a_low_rank_adaptation_begins_with_the_answers_of_the_champion(tmp_path: Path, package: Path) -> None:
    tuned = trained(tmp_path / "tuned", tiny_task("lora", num_epochs=1), mails(100, 0))
    more = trained(tmp_path / "more", tiny_task("lora", num_epochs=1), mails(100, 1), base=tuned.model_path)
    assert (start_of(more).num_taken, start_of(more).missing) == (start_of(more).num_tensors, ())


@pytest.mark.parametrize(
    ("model", "text"),
    [
        pytest.param({"train": "full", "rank": 4}, "`rank` is of `train: lora`", id="rank-without-lora"),
        pytest.param({"train": "lora", "rank": 0}, "rank", id="no-rank"),
    ],
)
def test_a_rank_that_means_nothing_is_refused(model: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        SentenceOptions.model_validate({"encoder": "minilm", **model})


@pytest.mark.parametrize("train", ["head", "full", "lora"])
def test_a_training_that_goes_on_from_a_checkpoint_gives_the_same_bits(
    tmp_path: Path, package: Path, train: str
) -> None:
    rows = mails(300, 0)
    whole = trained(tmp_path / "whole", tiny_task(train), rows)
    trained(tmp_path / "broken", tiny_task(train, num_epochs=2), rows)
    resumed = trained(tmp_path / "broken", tiny_task(train), rows)
    assert len(resumed.history_path.read_text().splitlines()) == 4
    assert (whole.model_path / "model.safetensors").read_bytes() == (
        resumed.model_path / "model.safetensors"
    ).read_bytes()


@pytest.mark.slow
def test_two_workers_share_the_encoding_and_each_row_keeps_its_own_vector(
    tmp_path: Path, package: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(package))
    job = job_of(tmp_path / "job", tiny_task(world_size=2), mails(700, 0))
    path = tmp_path / "job" / "job.json"
    TorchLearner(TorchrunTrainer()).train(job, job_path=path, log_path=path.with_name("log.txt"))
    assert measured(job, mails(200, 1), "accuracy") > 0.7


def test_a_model_answers_where_its_package_is_not_installed(
    tmp_path: Path, package: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = trained(tmp_path / "job", tiny_task(num_epochs=1), mails(100, 0))
    monkeypatch.setattr(sys, "path", [each for each in sys.path if each != str(package)])
    model = load_model(job.model_path)
    answers = model.answer(pa.table({"body": pa.array(["cheap pills!", None, "", "never seen 東"])}))
    assert answers.scores_BK is not None
    assert np.isfinite(answers.scores_BK).all()
    assert answers.scores_BK[1].tolist() == pytest.approx(answers.scores_BK[2].tolist())


def test_a_training_from_the_champion_takes_over_its_encoder(tmp_path: Path, package: Path) -> None:
    tuned = trained(tmp_path / "tuned", tiny_task("full", num_epochs=1), mails(100, 0))
    more = trained(tmp_path / "more", tiny_task("head", num_epochs=1), mails(100, 1), base=tuned.model_path)
    assert (start_of(more).num_taken, start_of(more).missing) == (start_of(more).num_tensors, ())
    before, after = weights_of(tuned), weights_of(more)
    assert all(torch.equal(before[name], after[name]) for name in before if name.startswith("encoder."))


@pytest.mark.parametrize(
    ("of", "text"),
    [
        pytest.param("Missing", "needs no-encoder, which is not installed here. Install it where models", id="missing"),
        pytest.param("Checked", "vocab.txt has sha256", id="another-file"),
    ],
)
def test_what_is_wrong_with_the_package_is_said_before_any_training(package: Path, of: str, text: str) -> None:
    told: list[CheckResult] = []
    check_task(tiny_task(of=of), told.append)
    assert (told[-1].check, told[-1].state) == ("fit", "failed")
    assert text in told[-1].text
    assert "pip install" in told[-1].text


@pytest.mark.parametrize("train", ["head", "lora"])
def test_a_task_with_the_encoder_passes_every_check(package: Path, train: str) -> None:
    told: list[CheckResult] = []
    check_task(tiny_task(train), told.append)
    assert [each.text for each in told if each.state == "failed"] == []
    assert told[-1].check == "save and load"


def test_a_text_has_the_same_vector_whatever_stands_beside_it() -> None:
    shape = {"layers": LAYERS, "width": WIDTH, "heads": 4, "inner": 64, "positions": 2_048, "tokens": len(VOCABULARY)}
    encoder = SentenceEncoder(shape, num_trained_layers=0, dropout=0.5)
    lengths = [1, 3_000, 2, 1_500, 7, 2_000]
    ids = torch.zeros(len(lengths), 2_048, dtype=torch.int32)
    for row, length in enumerate(lengths):
        ids[row, :length] = torch.arange(length)[:2_048] % 5 + 2
    network = SentenceNetwork(encoder, torch.nn.Linear(WIDTH, 2)).train()
    assert network.frozen_part is encoder
    with torch.no_grad():
        together, alone = encoder(ids), [encoder(ids[row : row + 1, :length])[0] for row, length in enumerate(lengths)]
    assert together.norm(dim=1).tolist() == pytest.approx([WIDTH**0.5] * len(lengths), rel=1e-5)
    torch.testing.assert_close(torch.stack(alone), together, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(network(ids), network(together), rtol=1e-4, atol=1e-4)


def test_more_layers_than_the_encoder_has_are_refused(package: Path) -> None:
    tiny = Tiny(tiny_task("top-3"))
    state = tiny.fit(pa.table({"body": ["a"], "kind": ["ham"]}))
    with pytest.raises(ValueError, match="`train: top-3`: the encoder has 2 layers"):
        tiny.build_model(state)
