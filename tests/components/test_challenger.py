"""finetune, evaluate and register, one after the other as in the pipeline: real torchrun, real model server."""

import io
import json
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from components.evaluate.step import evaluate_step
from components.finetune.page import write_page
from components.finetune.step import finetune_step
from components.register.step import Lineage, register_step
from ratchet.actions.models.history import read_history
from ratchet.adapters.model_server import LocalModelServer
from ratchet.adapters.torchrun import TorchrunTrainer
from ratchet.core.digest import digest_of_bytes
from ratchet.core.errors import DataRejected
from ratchet.core.labels.dataset import DatasetShard, Manifest, md5_of
from ratchet.core.labels.shards import SPLITS, split_of
from ratchet.core.models.evaluation import EvaluationPolicy
from ratchet.core.models.ledger import LedgerEntry, ModelRef
from ratchet.core.verdict import Reason, Verdict
from ratchet.stores.models import ModelFolders
from ratchet.tasks.identity import model_digest
from ratchet.tasks.model_files import load_model
from ratchet.training.learners import TorchLearner
from tests.components.data import finished_steps
from tests.fakes.dataset_store import FakeDatasetStore
from tests.fakes.ledger import FakeLedger
from tests.fakes.model_server import FakeModelServer
from tests.fakes.object_store import FakeObjectStore
from tests.fakes.registry import FakeRegistry
from tests.models import DIGITS, digit_rows, digits_model

POLICY = EvaluationPolicy(
    confidence=0.95,
    loss_max=0.03,
    gain_min=0.0,
    accuracy_min=0.5,
    num_rows_min=30,
    slice_loss_max=0.1,
    slice_rows_min=10,
    serving_mismatch_max=0.0,
)
LINEAGE = Lineage(
    dataset_version="digits/v1", run_id="run-1", run_key="key-1", policy_digest="p" * 64, git_commit="abc", image="i:1"
)


class World:
    """Fakes of the servers, with 500 digits as dataset version 1 and an untrained champion."""

    def __init__(self, scratch: Path) -> None:
        self.datasets, self.objects = FakeDatasetStore(), FakeObjectStore()
        self.registry, self.ledger = FakeRegistry(), FakeLedger()
        self.manifest = commit_digits(self.datasets)
        self.champion = champion_in(self.objects, scratch / "champion")
        entry = LedgerEntry(
            seq=1,
            task="digits",
            kind="promoted",
            model=self.champion,
            champion=self.champion,
            reason="first",
            run_id="run-0",
            at=datetime(2026, 1, 1, tzinfo=UTC),
        )
        self.ledger.append(entry)


def commit_digits(datasets: FakeDatasetStore) -> Manifest:
    rows = digit_rows(0, 500)
    blobs, shards = {}, []
    for split in SPLITS:
        of_split = [row for row in rows if split_of(str(row["id"])) == split]
        buffer = io.BytesIO()
        pq.write_table(pa.Table.from_pylist(of_split), buffer)
        path, data = f"shards/v1-{split}.parquet", buffer.getvalue()
        blobs[path] = data
        shards.append(
            DatasetShard(path=path, split=split, num_rows=len(of_split), sha256=digest_of_bytes(data), md5=md5_of(data))
        )
    manifest = Manifest(
        version="digits/v1", parent=None, num_labels=500, num_labels_by_class={}, watermark="w", shards=tuple(shards)
    )
    datasets.commit_version(manifest, blobs)
    return manifest


def champion_in(objects: FakeObjectStore, path: Path) -> ModelRef:
    digest = digits_model(path)
    uri = f"s3://models/digits/{digest}"
    objects.put_directory(path, uri)
    return ModelRef(version="1", digest=digest, uri=uri, dataset_version="digits/v0")


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> World:
    return World(tmp_path_factory.mktemp("world"))


@pytest.fixture(scope="module")
def model_path(world, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("finetuned") / "model"
    digest, last_epoch = finetune_step(
        DIGITS,
        world.manifest,
        datasets=world.datasets,
        objects=world.objects,
        ledger=world.ledger,
        learner=TorchLearner(TorchrunTrainer()),
        model_path=path,
        log_path=path.parent / "log.txt",
        finished=finished_steps(),
    )
    assert digest == model_digest(path)
    assert last_epoch.epoch == DIGITS.training.num_epochs
    return path


@pytest.fixture(scope="module")
def judged(world, model_path):
    return evaluate_step(
        DIGITS,
        world.manifest,
        model_path,
        policy=POLICY,
        datasets=world.datasets,
        objects=world.objects,
        ledger=world.ledger,
        probe=LocalModelServer(),
        finished=finished_steps(),
    )


def test_finetune_says_what_it_started_from(world, model_path):
    lineage = json.loads((model_path / "lineage.json").read_text())
    assert lineage["base_model_digest"] == world.champion.digest
    assert lineage["dataset_version"] == "digits/v1"
    assert {"torch", "seed", "world_size", "num_threads"} <= lineage.keys()


def test_the_page_of_a_training_has_its_curves_its_start_and_what_it_ran_on(model_path, tmp_path):
    write_page(DIGITS, model_path, tmp_path / "curves.html")
    page = (tmp_path / "curves.html").read_text()
    history = read_history(model_path)
    assert len(history) == DIGITS.training.num_epochs
    assert f"<h1>Training of digits on digits/v1</h1>\n<p>{len(history)} epochs; the last training loss is" in page
    assert page.count("<svg") == 4, "losses, accuracy, rows per second, learning rate"
    assert "of champion version" in page and "<td>torch</td>" in page


def test_a_champion_that_is_not_what_the_ledger_says_is_refused(world, tmp_path):
    objects = FakeObjectStore()
    digits_model(tmp_path / "other", seed=1)
    objects.put_directory(tmp_path / "other", world.champion.uri)
    with pytest.raises(DataRejected, match="is not the model"):
        finetune_step(
            DIGITS,
            world.manifest,
            datasets=world.datasets,
            objects=objects,
            ledger=world.ledger,
            learner=TorchLearner(TorchrunTrainer()),
            model_path=tmp_path / "model",
            log_path=tmp_path / "log.txt",
            finished=finished_steps(),
        )


def test_evaluate_refuses_a_champion_whose_code_was_changed_in_the_bucket(world, tmp_path):
    objects = FakeObjectStore()
    digits_model(tmp_path / "champion")
    code = tmp_path / "champion" / "code" / "ratchet" / "tasks" / "digits.py"
    code.write_text(code.read_text().replace("(features_BF - low)", "(low - features_BF)"))
    objects.put_directory(tmp_path / "champion", world.champion.uri)
    digits_model(tmp_path / "challenger", seed=3)
    with pytest.raises(DataRejected, match=f"{world.champion.digest[:12]} was expected.*digits.py has changed"):
        evaluate_step(
            DIGITS,
            world.manifest,
            tmp_path / "challenger",
            policy=POLICY,
            datasets=world.datasets,
            objects=objects,
            ledger=world.ledger,
            probe=FakeModelServer(),
            finished=finished_steps(),
        )


def test_register_refuses_another_model_than_the_one_that_was_judged(world, tmp_path):
    digits_model(tmp_path / "judged", seed=3)
    reason = Reason(check="gain", value=1.0, limit=0.0, passed=True, text="better")
    verdict = Verdict(kind="evaluate", verdict="passed", reasons=(reason,), inputs={"challenger": "0" * 64})
    with pytest.raises(DataRejected, match="the verdict is about 000000000000"):
        register_step(
            DIGITS,
            tmp_path / "judged",
            verdict=verdict,
            metrics={},
            lineage=LINEAGE,
            models=ModelFolders(FakeObjectStore(), "models"),
            registry=FakeRegistry(),
        )


def test_evaluate_passes_a_trained_challenger_against_an_untrained_champion(judged):
    verdict, metrics = judged
    checks = {reason.check: reason for reason in verdict.reasons}
    assert verdict.verdict == "passed", verdict.summary()
    assert checks["serving"].value == 0.0
    assert 0 <= float(checks["serving_probability"].value) < 1e-6
    assert 0.5 < float(checks["serving_load"].value) < 60, checks["serving_load"].text
    assert float(checks["serving_latency"].value) > 0, checks["serving_latency"].text
    assert 50 < float(checks["serving_memory"].value) < 4_000, checks["serving_memory"].text
    assert float(checks["gain"].value or 0) > 0.3
    assert metrics["test_accuracy"] > 0.5


def test_evaluate_refuses_the_untrained_one(world, tmp_path):
    digits_model(tmp_path / "untrained", seed=3)
    verdict, _ = evaluate_step(
        DIGITS,
        world.manifest,
        tmp_path / "untrained",
        policy=POLICY,
        datasets=world.datasets,
        objects=world.objects,
        ledger=world.ledger,
        probe=FakeModelServer(),
        finished=finished_steps(),
    )
    assert verdict.verdict == "refused"
    assert "accuracy" in [reason.check for reason in verdict.failed]


def test_register_twice_is_one_version_with_its_lineage(world, model_path, judged):
    verdict, metrics = judged

    def register_once() -> tuple[str, str, str]:
        return register_step(
            DIGITS,
            model_path,
            verdict=verdict,
            metrics=metrics,
            lineage=LINEAGE,
            models=ModelFolders(world.objects, "models"),
            registry=world.registry,
        )

    version, uri, digest = register_once()
    assert register_once() == (version, uri, digest)
    assert world.registry.fetch_aliases("digits") == {"challenger": version}
    (registered,) = world.registry.list_versions("digits")
    assert registered.tags["dataset_version"] == "digits/v1"
    assert registered.tags["base_model_digest"] == world.champion.digest
    card = world.objects.fetch(f"{uri}/MODEL_CARD.md").decode()
    assert "passed" in card
    assert "run-1" in card


def test_a_registered_model_can_be_fetched_and_loaded(world, model_path, tmp_path):
    world.objects.fetch_directory(world.registry.list_versions("digits")[0].uri, tmp_path / "fetched")
    assert load_model(tmp_path / "fetched").digest == model_digest(model_path)
