"""What it costs to erase one example of many: `python -m benchmarks.erasure [--quick]`.

A dataset repository with 100 versions of 10,000 rows each over a real object store and git; one example of the first
version, so all versions hold it, is erased. The peer is the purge that one writes by hand: read every Parquet file of
the newest version, drop the row, write every file again.
"""

import argparse
import io
import json
import subprocess
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from embedded.object_store import NAME as OBJECT_STORE
from embedded.stack import start_stack, stop_stack
from embedded.state_folder import layout_of
from ratchet.actions.labels.erasing import Holders, erase
from ratchet.actions.labels.erasing_logs import Logs
from ratchet.adapters.dvc import DvcDatasetStore
from ratchet.adapters.s3 import S3ObjectStore
from ratchet.adapters.s3_labels import S3LabelStore
from ratchet.core.digest import digest_of_bytes
from ratchet.core.labels.dataset import DataFile, DatasetShard, Manifest, md5_of, version_name
from ratchet.core.labels.erasure import ErasureOrder
from ratchet.core.labels.schema import CategoryOutput, ExampleSchema, NumberInput
from ratchet.core.labels.shards import SPLITS, id_digest_of, split_of
from ratchet.core.labels.tables import INDEX, parquet_of
from ratchet.settings import Settings, parse_profile, settings_of
from ratchet.stores.erasures import Erasures
from ratchet.stores.example_signatures import ExampleSignatures
from ratchet.stores.findings import Findings
from ratchet.stores.request_logs import FeedbackFiles, PayloadFiles
from ratchet.stores.run_journal import RunJournal
from ratchet.stores.sketches import Sketches

_TASK = "numbers"
_NUM_COLUMNS = 20
_SCHEMA = ExampleSchema(
    inputs=tuple(NumberInput(name=f"x{column}") for column in range(_NUM_COLUMNS)),
    output=CategoryOutput(classes=("a", "b")),
)
_GOAL_S = 10.0
_SIZES = {True: (10, 2_000), False: (100, 10_000)}
"""Versions, and rows that each adds."""


def fill(datasets: DvcDatasetStore, *, num_versions: int, num_rows: int) -> None:
    """Versions that each hold all rows of the ones before."""
    draw = np.random.default_rng(0)
    parent: Manifest | None = None
    for number in range(1, num_versions + 1):
        ids = [f"row-{number}-{row}" for row in range(num_rows)]
        numbers_NF = draw.normal(size=(num_rows, _NUM_COLUMNS))
        files: dict[str, bytes] = {}
        shards = [shard for split in SPLITS if (shard := _shard_of(number, split, ids, numbers_NF, files)) is not None]
        index = _file_of(f"shards/v{number}-index.parquet", _index_of(ids), num_rows, files)
        manifest = Manifest(
            version=version_name(_TASK, number),
            parent=parent.version if parent else None,
            num_labels=num_rows * number,
            num_labels_by_class={"a": num_rows * number},
            watermark=f"{_TASK}/{number}",
            shards=(*(parent.shards if parent else ()), *shards),
            index=(*(parent.index if parent else ()), index),
        )
        datasets.commit_version(manifest, files)
        parent = manifest


def _shard_of(
    number: int, split: Any, ids: list[str], numbers_NF: np.ndarray, files: dict[str, bytes]
) -> DatasetShard | None:
    mine = np.array([split_of(each) == split for each in ids])
    columns: dict[str, Any] = {f"x{column}": numbers_NF[mine, column] for column in range(_NUM_COLUMNS)}
    some = [each for each, is_mine in zip(ids, mine, strict=True) if is_mine]
    inputs = pa.StructArray.from_arrays([pa.array(values) for values in columns.values()], names=list(columns))
    table = pa.table({"id": some, "inputs": inputs, "label": ["a"] * len(some)})
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd")
    file = _file_of(f"shards/v{number}-{split}.parquet", buffer.getvalue(), len(some), files)
    return DatasetShard(**file.model_dump(), split=split)


def _index_of(ids: list[str]) -> bytes:
    digests = [id_digest_of(each) for each in ids]
    return parquet_of(
        pa.table(
            [pa.array(digests, pa.uint64()), pa.array(digests, pa.uint64()), pa.array(["a"] * len(ids))], schema=INDEX
        )
    )


def _file_of(path: str, data: bytes, num_rows: int, files: dict[str, bytes]) -> DataFile:
    files[path] = data
    return DataFile(path=path, num_rows=num_rows, sha256=digest_of_bytes(data), md5=md5_of(data))


def by_hand(datasets: DvcDatasetStore, example_id: str) -> float:
    """Seconds to read, filter and write every file of the newest version; nothing is stored."""
    began = time.monotonic()
    for shard in datasets.fetch_manifests(_TASK)[-1].shards:
        table = pq.read_table(io.BytesIO(datasets.fetch_shard(shard)))
        pq.write_table(table.filter(pc.not_equal(table["id"], example_id)), io.BytesIO(), compression="zstd")
    return time.monotonic() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split(":")[0])
    parser.add_argument("--quick", action="store_true", help="10 versions of 2,000 rows")
    num_versions, num_rows = _SIZES[parser.parse_args().quick]
    with tempfile.TemporaryDirectory(prefix="erasure-") as name:
        state_dir = Path(name) / "state"
        repo = Path(name) / "datasets.git"
        subprocess.run(["git", "init", "--quiet", "--bare", "--initial-branch=main", str(repo)], check=True)
        base = Settings(state_dir=state_dir)
        start_stack(base, project_dir=Path(__file__).parents[1], services=(OBJECT_STORE,), is_detached=False)
        try:
            print(json.dumps(measure(state_dir, repo, num_versions=num_versions, num_rows=num_rows)))
        finally:
            stop_stack(layout_of(base))


def measure(state_dir: Path, repo: Path, *, num_versions: int, num_rows: int) -> list[dict[str, Any]]:
    """The rows of the benchmark's last line."""
    profile = state_dir / "profile.env"
    settings = settings_of(parse_profile(profile.read_text(), where=str(profile)))
    settings = settings.model_copy(update={"dataset_repo": str(repo)})
    objects = S3ObjectStore.of(settings)
    datasets = DvcDatasetStore.of(settings, objects)
    fill(datasets, num_versions=num_versions, num_rows=num_rows)
    hand_s = by_hand(datasets, "row-1-7")
    bucket = settings.ratchet_bucket
    labels = S3LabelStore(objects, bucket=settings.labels_bucket)
    holders = Holders(
        labels,
        datasets,
        Erasures(objects, bucket),
        Sketches(objects, bucket),
        Findings(objects, bucket),
        ExampleSignatures(objects, bucket),
        RunJournal(objects, bucket),
        lambda *_: (),
        _SCHEMA,
        Logs(PayloadFiles(objects, bucket), FeedbackFiles(objects, bucket)),
    )
    order = ErasureOrder(ids=("row-1-7",), by="benchmark", reason="measured", at=datetime.now(UTC))
    began = time.monotonic()
    record = erase(holders, _TASK, order, now=lambda: datetime.now(UTC), watch=lambda _: None)
    taken_s = time.monotonic() - began
    assert len(record.versions) == num_versions, record
    total = num_versions * num_rows
    print(f"{total:,} rows in {num_versions} versions, one example erased from all of them: {taken_s:.2f} s")
    print(f"every file of the newest version read and written by hand: {hand_s:.2f} s")
    row = {"name": "erase one example", "value": round(taken_s, 2), "unit": "s", "peer": "every file by hand"}
    return [{**row, "ratio": round(taken_s / hand_s, 2), "goal": _GOAL_S, "ok": taken_s <= _GOAL_S}]


if __name__ == "__main__":
    main()
