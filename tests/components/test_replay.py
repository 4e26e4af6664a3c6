"""`training.replay_share`: which rows a challenger learns from, and who is told how many. No training."""

import io
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from components.evaluate.old_data import ages_of
from ratchet.actions.labels.rows import fetch_split
from ratchet.core.digest import digest_of_bytes
from ratchet.core.labels.dataset import DataFile, DatasetShard, Manifest, md5_of
from ratchet.core.models.ledger import LedgerEntry, ModelRef, champion_of
from ratchet.training.job import TrainingJob
from tests.components.data import NOON
from tests.components.test_taken_over import InstantTrainer, Training
from tests.models import DIGITS, changed, digit_rows, digits_model

OLD, NEW = digit_rows(600, 900), digit_rows(900, 940)


class Keeping(InstantTrainer):
    """Keeps the rows that it is given."""

    def run(self, *, spec_path: Path, log_path: Path, **more: Any) -> None:
        super().run(spec_path=spec_path, log_path=log_path, **more)
        job = TrainingJob.model_validate_json(spec_path.read_bytes())
        self.rows = pq.read_table(job.train_path).to_pylist()


def file_of(name: str, rows: list[dict[str, Any]], files: dict[str, bytes]) -> dict[str, Any]:
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), buffer)
    files[f"shards/{name}.parquet"] = data = buffer.getvalue()
    told = {"path": f"shards/{name}.parquet", "num_rows": len(rows)}
    return {**told, "sha256": digest_of_bytes(data), "md5": md5_of(data)}


class World(Training):
    """Version 2 has 300 training rows of version 1, of which 10 were put right, and 40 new ones."""

    def __post_init__(self) -> None:
        super().__post_init__()
        files: dict[str, bytes] = {}
        self.old = DatasetShard(**file_of("v1-more", OLD, files), split="train")
        new = DatasetShard(**file_of("v2-train", NEW, files), split="train")
        right = [{"id": row["id"], "label": "7", "labeler": "ann", "labeled_at": NOON} for row in OLD[:10]]
        overlay = DataFile(**file_of("v2-overlay", right, files))
        others = [shard for shard in self.manifest.shards if shard.split != "train"]
        self.before = self.version(2, (*others, self.old))
        self.manifest = self.version(3, (*others, self.old, new), overlays=(overlay,))
        self.datasets.commit_version(self.before, files)
        self.datasets.commit_version(self.manifest, {})
        self.trainer = self.keeping = Keeping()
        self.spec = self.asking(0.1)

    def version(self, number: int, shards: tuple[DatasetShard, ...], **more: Any) -> Manifest:
        told: dict[str, Any] = {"parent": None, "num_labels": 1, "num_labels_by_class": {}, "watermark": "w"}
        return Manifest.model_validate({"version": f"digits/v{number}", "shards": shards, **told, **more})

    def asking(self, share: object) -> Any:
        return changed(DIGITS, {"training": {**DIGITS.training.model_dump(), "replay_share": share}})

    def promote(self, dataset_version: str) -> None:
        path = self.folder / "champion"
        digest = digits_model(path)
        uri = f"s3://models/digits/{digest}"
        self.objects.put_directory(path, uri)
        champion = ModelRef(version="1", digest=digest, uri=uri, dataset_version=dataset_version)
        told: Any = {"task": "digits", "kind": "promoted", "reason": "first", "run_id": "run-0", "at": NOON}
        self.ledger.append(LedgerEntry(seq=1, model=champion, champion=champion, **told))

    def note(self) -> str:
        found = self.origins().get("replay")
        return found.text if found is not None else ""


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_a_share_of_each_class_is_trained_beside_what_is_new_and_what_was_put_right(world: World) -> None:
    world.promote("digits/v2")
    world.finetune()
    trained = {row["id"] for row in world.keeping.rows}
    assert {row["id"] for row in [*NEW, *OLD[:10]]} <= trained
    every = Counter(str(row["label"]) for row in OLD[10:])
    repeated = Counter(str(row["label"]) for row in OLD[10:] if row["id"] in trained)
    assert repeated == {name: -(-num // 10) for name, num in every.items()}
    says = f"50 rows that are new since digits/v2, and {repeated.total()} of 290 older ones"
    assert world.note() == says
    assert json.loads((world.folder / "model" / "lineage.json").read_text())["training_rows"] == says
    verdict, _ = world.evaluate()
    assert verdict.inputs["training_rows"] == says


def test_the_same_rows_are_old_when_their_shard_was_written_anew(world: World) -> None:
    world.promote("digits/v2")
    world.finetune()
    first = {row["id"] for row in world.keeping.rows}
    files: dict[str, bytes] = {}
    apart = DatasetShard(**file_of("v1-other", OLD[::-1], files), split="train")
    world.datasets.replace_versions(
        [world.before.model_copy(update={"shards": (apart, *world.before.shards[:-1])})], files.values(), message=""
    )
    world.run_id = "run-2"
    world.finetune()
    assert {row["id"] for row in world.keeping.rows} == first


@pytest.mark.parametrize(
    ("champion", "share", "says"),
    [
        pytest.param("", 0.1, "all 340 rows: there is no champion", id="no-champion"),
        pytest.param("digits/v9", 0.1, "all 340 rows: the champion learned from a newer version", id="newer"),
        pytest.param("lost", 0.1, "all 340 rows: what the champion learned from cannot be read: 'lost' is", id="lost"),
        pytest.param("digits/v3", 0.1, "all 340 rows: none of them is new since digits/v3", id="nothing-new"),
        pytest.param("digits/v2", "all", "", id="all"),
    ],
)
def test_all_rows_are_trained_and_the_run_says_why(champion: str, share: object, says: str, world: World) -> None:
    if champion:
        world.promote(champion)
    world.spec = world.asking(share)
    world.finetune()
    assert len(world.keeping.rows) == 340 and world.note().startswith(says) and bool(world.note()) == bool(says)


def test_a_champion_of_another_class_is_no_start_to_repeat_little_from(world: World) -> None:
    world.promote("digits/v2")
    spec = world.asking(0.1)
    world.spec = changed(spec, {"implementation": "tests.training_tasks:Odd"})
    world.finetune()
    assert len(world.keeping.rows) == 340 and "the champion is a ratchet.tasks.digits:Digits" in world.note()


def test_test_rows_that_the_champion_has_not_seen_are_told_apart(world: World, tmp_path: Path) -> None:
    world.promote("digits/v2")
    champion = champion_of(world.ledger.list_entries("digits"))
    assert champion is not None
    files: dict[str, bytes] = {}
    fresh = DatasetShard(**file_of("v4-test", digit_rows(940, 960), files), split="test")
    later = world.version(4, (*world.manifest.shards, fresh))
    world.datasets.commit_version(later, files)
    split = fetch_split(world.datasets, later, "test", tmp_path / "test.parquet", spec=world.spec)
    ids = pq.read_table(tmp_path / "test.parquet", columns=["id"])["id"]
    (column,) = ages_of(world.datasets, later, champion, ids, split)
    assert (column.code_N == 1).sum() == 20 and (column.code_N == 0).sum() == len(ids) - 20
    assert {row["id"] for row in digit_rows(940, 960)} == set(ids.filter(pa.array(column.code_N == 1)).to_pylist())
    gone = champion.model_copy(update={"dataset_version": "digits/v9"})
    assert list(ages_of(world.datasets, later, gone, ids, split)) == []
    assert list(ages_of(world.datasets, world.before, champion, ids, split)) == []
