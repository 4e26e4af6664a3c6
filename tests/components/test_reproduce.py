"""`ratchet models reproduce`: from its lineage a registered model gives the same bits, or what differs is named."""

import io
import json
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from cli.exit_codes import NOT_REPRODUCED
from cli.main import app
from components.finetune.step import finetune_step
from components.register.step import register_step
from ratchet.actions.models.reproducing import ReproducePorts, reproduce
from ratchet.core.digest import digest_of_bytes
from ratchet.core.errors import NotFound, RatchetError
from ratchet.core.labels.dataset import md5_of
from ratchet.core.models.registered import KnownModel, merge_models
from ratchet.core.models.reproduction import Reproduction
from ratchet.core.models.training_history import EpochMetrics
from ratchet.core.verdict import Reason, Verdict
from ratchet.stores.models import ModelFolders
from ratchet.tasks.identity import model_digest
from ratchet.tasks.spec import TaskSpec
from ratchet.training.job import TrainingJob
from ratchet.training.learners import Scratch
from ratchet.training.loop import train as train_network
from ratchet.training.trees import train as grow_trees
from tests.components.data import finished_steps
from tests.components.learning import one_worker
from tests.components.test_challenger import LINEAGE, World, commit_digits
from tests.components.test_replay import World as ReplayWorld
from tests.fakes.dataset_store import FakeDatasetStore
from tests.fakes.object_store import FakeObjectStore
from tests.models import DIGITS
from tests.user_code import UserFolder
from tests.wired import wire

REASON = Reason(check="accuracy", value=1, limit=0, passed=True, text="it is good")
TREES = TaskSpec.model_validate(
    {
        "name": "digits",
        "inputs": [{"name": "features", "type": "vector", "size": 64}],
        "output": {"name": "label", "type": "category", "classes": DIGITS.classes},
        "model": {"kind": "trees", "num_trees": 3},
        "training": {"timeout_s": 60},
    }
)


@dataclass
class HereLearner:
    """Trains in this process: a start of torch takes seconds."""

    change: Callable[[TrainingJob], TrainingJob] = lambda job: job
    scratch: Scratch = tempfile.TemporaryDirectory

    def train(self, job: TrainingJob, *, job_path: Path, log_path: Path) -> None:
        job = self.change(job)
        if job.spec.model.learner == "trees":
            grow_trees(job)
            return
        with one_worker(job_path.parent):
            train_network(job, rank=0, world_size=1)


def other_seed(job: TrainingJob) -> TrainingJob:
    """As a machine whose arithmetic is another one."""
    training = job.spec.training.model_copy(update={"seed": 1})
    return job.model_copy(update={"spec": job.spec.model_copy(update={"training": training})})


@dataclass
class Registered:
    """Models that were trained and registered as the pipeline does it."""

    world: World
    user: UserFolder
    scratch: Path
    told: list[EpochMetrics] = field(default_factory=list)
    learner: HereLearner = field(default_factory=HereLearner)

    def register(self, spec: TaskSpec) -> None:
        path, world = self.scratch / spec.model.learner, self.world
        finetune_step(
            spec,
            world.manifest,
            datasets=world.datasets,
            objects=world.objects,
            ledger=world.ledger,
            learner=HereLearner(),
            model_path=path,
            log_path=self.scratch / "log.txt",
            finished=finished_steps(),
        )
        register_step(
            spec,
            path,
            verdict=Verdict(kind="evaluation", verdict="passed", reasons=(REASON,), inputs={}),
            metrics={},
            lineage=LINEAGE,
            models=ModelFolders(world.objects, "models"),
            registry=world.registry,
        )

    @property
    def known(self) -> Sequence[KnownModel]:
        world = self.world
        return merge_models(
            world.ledger.list_entries("digits"),
            world.registry.list_versions("digits"),
            world.registry.fetch_aliases("digits"),
        )

    def model(self, kind: str = "network") -> KnownModel:
        version = {"network": "1", "trees": "2"}[kind]
        return next(each for each in self.known if each.is_registered and each.version == version)

    @property
    def ports(self) -> ReproducePorts:
        return ReproducePorts(self.world.datasets, self.world.objects, lambda spec: self.learner, git_commit="def")

    def reproduce(self, kind: str = "network", **options: Any) -> Reproduction:
        model = self.model(kind)
        return reproduce(model, self.known, task="digits", ports=self.ports, tell=self.told.append, **options)

    def edit(self, name: str, change: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
        """A JSON file beside the network's digest."""
        uri = f"{self.model().uri}/{name}"
        content = change(json.loads(self.world.objects.fetch(uri)))
        self.world.objects.put(uri, json.dumps(content).encode())


@pytest.fixture(scope="module")
def once(tmp_path_factory: pytest.TempPathFactory) -> Registered:
    folder = tmp_path_factory.mktemp("reproduce")
    made = Registered(World(folder), UserFolder(folder / "user", "reproduced"), folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(made.user.root))
        training = DIGITS.training.model_copy(update={"num_epochs": 2, "world_size": 1})
        made.register(made.user.spec.model_copy(update={"training": training}))
    made.register(TREES)
    # Whatever becomes of the user's folder: the model carries what trained it.
    shutil.rmtree(made.user.root)
    return made


@pytest.fixture
def registered(once: Registered, monkeypatch: pytest.MonkeyPatch) -> Registered:
    """Stores of the test's own."""
    objects = FakeObjectStore()
    for uri in once.world.objects.all_uris():
        objects.put(uri, once.world.objects.fetch(uri))
    datasets = FakeDatasetStore()
    commit_digits(datasets)
    monkeypatch.setattr(once.world, "objects", objects)
    monkeypatch.setattr(once.world, "datasets", datasets)
    return Registered(once.world, once.user, once.scratch)


def erase_a_row(registered: Registered) -> None:
    """As an erasure leaves the version: a file anew under its old path, and the count."""
    manifest, datasets = registered.world.manifest, registered.world.datasets
    shard = next(each for each in manifest.shards if each.split == "train")
    buffer = io.BytesIO()
    pq.write_table(pq.read_table(io.BytesIO(datasets.fetch_shard(shard))).slice(1), buffer)
    data = buffer.getvalue()
    changed = {"num_rows": shard.num_rows - 1, "sha256": digest_of_bytes(data), "md5": md5_of(data)}
    shards = tuple(each.model_copy(update=changed) if each == shard else each for each in manifest.shards)
    erased = manifest.model_copy(update={"shards": shards, "erased": 1})
    datasets.replace_versions([erased], [data], message="erase")


def test_on_the_same_machine_the_bits_are_the_same_and_nothing_is_written(
    registered: Registered, tmp_path: Path
) -> None:
    before = {uri: registered.world.objects.fetch(uri) for uri in registered.world.objects.all_uris()}
    found = registered.reproduce(keep_path=tmp_path / "kept")
    assert (found.result, found.files, found.arrays, found.answers) == ("identical", (), None, None)
    assert found.digest == found.reproduced_digest == model_digest(tmp_path / "kept") == registered.model().digest
    assert [each.epoch for each in registered.told] == [1, 2]
    assert [each.text for each in found.environment] == ["git commit abc → def"]
    assert {uri: registered.world.objects.fetch(uri) for uri in registered.world.objects.all_uris()} == before


def test_trees_give_the_same_bits_too(registered: Registered) -> None:
    found = registered.reproduce("trees")
    assert (found.result, found.files, found.is_environment_recorded) == ("identical", (), True)
    registered.learner = HereLearner(lambda job: job.model_copy(update={"train_path": job.val_path}))
    found = registered.reproduce("trees")
    assert found.result == "differs" and "model.txt" in found.files
    assert found.arrays is not None and found.arrays.num_different > 0


def test_the_same_share_of_older_rows_is_chosen_again(tmp_path: Path) -> None:
    world, seen = ReplayWorld(tmp_path), []
    world.promote("digits/v2")

    def keep(job: TrainingJob) -> TrainingJob:
        seen.append(pq.read_table(job.train_path)["id"].to_pylist())
        return job

    digest, _ = finetune_step(
        world.spec,
        world.manifest,
        datasets=world.datasets,
        objects=world.objects,
        ledger=world.ledger,
        learner=HereLearner(keep),
        model_path=tmp_path / "model",
        log_path=tmp_path / "log.txt",
        finished=finished_steps(),
    )
    model = KnownModel(version="2", digest=digest, uri=f"s3://models/digits/{digest}")
    world.objects.put_directory(tmp_path / "model", model.uri)
    ports = ReproducePorts(world.datasets, world.objects, lambda spec: HereLearner(keep))
    found = reproduce(model, [model], task="digits", ports=ports, tell=lambda epoch: None)
    assert found.result == "identical"
    assert seen[0] == seen[1] and len(seen[0]) < 340


def test_what_a_model_was_trained_on_lies_beside_its_digest(registered: Registered) -> None:
    environment = json.loads(registered.world.objects.fetch(f"{registered.model().uri}/environment.json"))
    assert {"ratchet", "torch", "numpy", "pyarrow", "safetensors"} <= environment["packages"].keys()
    assert all(environment[name] for name in ("python", "platform", "cpu_kernels", "device"))
    assert [environment[name] for name in ("world_size", "num_threads", "seed")] == [1, 1, 0]


def test_a_version_that_differs_is_named_and_what_is_not_recorded_is_said(registered: Registered) -> None:
    registered.edit("environment.json", lambda it: it | {"packages": it["packages"] | {"numpy": "1.0"}, "cpu": "6502"})
    differences = [each.text for each in registered.reproduce().environment]
    assert differences[0].startswith("numpy 1.0 → ") and differences[1].startswith("CPU 6502 → ")
    registered.world.objects.delete(f"{registered.model().uri}/environment.json")
    registered.edit("lineage.json", lambda it: {name: it[name] for name in it if name not in NEW} | {"torch": "1.0"})
    found = registered.reproduce()
    assert (found.result, found.is_environment_recorded) == ("identical", False)
    assert found.environment[0].text.startswith("torch 1.0 → ")
    assert "this model is older than its record" in " ".join(found.sentences)


NEW = {"base_dataset_version", "dataset_digest", "dataset_erased"}
"""Of the lineage: models from before do not have it."""


def test_an_erased_example_is_named_and_the_rest_can_be_trained_on(registered: Registered) -> None:
    erase_a_row(registered)
    with pytest.raises(NotFound, match=r"1 row was erased from digits/v1 since.*--anyway"):
        registered.reproduce()
    found = registered.reproduce(is_anyway=True)
    assert (found.result, found.num_erased) == ("differs", 1)
    assert found.answers is not None and found.answers.share > 0.5


def no_files(registered: Registered, monkeypatch: pytest.MonkeyPatch) -> None:
    for uri in list(registered.world.objects.list_uris(registered.model().uri)):
        registered.world.objects.delete(uri)


def no_base(registered: Registered, monkeypatch: pytest.MonkeyPatch) -> None:
    registered.world.objects.delete(f"{registered.world.champion.uri}/model.safetensors")


def no_dataset(registered: Registered, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registered.world, "datasets", FakeDatasetStore())


def no_shard(registered: Registered, monkeypatch: pytest.MonkeyPatch) -> None:
    registered.world.datasets.delete_files(registered.world.datasets.names)


def no_lineage(registered: Registered, monkeypatch: pytest.MonkeyPatch) -> None:
    model = registered.model().model_copy(update={"tags": {}})
    registered.world.objects.delete(f"{model.uri}/lineage.json")
    monkeypatch.setattr(registered, "model", lambda kind: model)


def other_weights(registered: Registered, monkeypatch: pytest.MonkeyPatch) -> None:
    registered.world.objects.put(f"{registered.world.champion.uri}/model.safetensors", b"others")


@pytest.mark.parametrize(
    ("change", "exit_code", "text"),
    [
        (no_files, 7, "The files of digits/1 are gone"),
        (
            no_base,
            7,
            "The base model of digits/1, version 1, is gone: model.safetensors missing in s3://models/digits/",
        ),
        (no_dataset, 7, "The dataset version digits/v1, which digits/1 was trained on, is gone"),
        (no_shard, 7, "Files of digits/v1 are gone"),
        (no_lineage, 3, "digits/1 has no lineage"),
        (other_weights, 3, "is not the model that the ledger names"),
    ],
)
def test_whatever_is_gone_is_named_before_anything_trains(
    registered: Registered, monkeypatch: pytest.MonkeyPatch, change: Any, exit_code: int, text: str
) -> None:
    change(registered, monkeypatch)
    with pytest.raises(RatchetError) as caught:
        registered.reproduce()
    assert text in str(caught.value) and caught.value.exit_code == exit_code
    assert registered.told == []


def test_the_command_exits_with_its_own_code_and_names_the_tensors(
    registered: Registered, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    world, ports = registered.world, registered.ports
    wire(
        monkeypatch,
        registry=lambda: world.registry,
        ledger=lambda: world.ledger,
        object_store=lambda: world.objects,
        reproduce_ports=lambda: ports,
    )
    name = f"digits/{registered.model().digest[:12]}"
    registered.learner = HereLearner(other_seed)
    result = CliRunner().invoke(app, ["models", "reproduce", name, "--json", "--keep", str(tmp_path / "kept")])
    assert result.exit_code == NOT_REPRODUCED, result.output
    found = json.loads(result.stdout)
    assert found["result"] == "differs" and {each["what"] for each in found["environment"]} == {"seed", "git commit"}
    assert {each["name"] for each in found["arrays"]["largest"]} == {"weight", "bias"}
    assert 0 < found["answers"]["share"] <= 1 and found["digest"] != found["reproduced_digest"]
    again = CliRunner().invoke(app, ["models", "reproduce", name, "--keep", str(tmp_path / "kept")])
    assert "is no empty folder" in str(again.exception)
    registered.learner = HereLearner()
    people = CliRunner().invoke(app, ["models", "reproduce", name])
    assert people.exit_code == 0 and people.stdout.startswith("identical: training digits/"), people.output
    shown = CliRunner().invoke(app, ["models", "show", name, "--json"])
    assert json.loads(shown.stdout)["environment"]["world_size"] == 1
