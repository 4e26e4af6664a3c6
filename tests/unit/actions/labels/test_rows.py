"""The rows that a task learns from: of its types today, whichever task file wrote them."""

import io
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ratchet.actions.labels.rows import fetch_split
from ratchet.core.digest import digest_of_bytes
from ratchet.core.errors import DataRejected
from ratchet.core.labels.dataset import DatasetShard, Manifest, md5_of
from ratchet.tasks.spec import TaskSpec
from tests.fakes.dataset_store import FakeDatasetStore

FLIGHTS = {
    "name": "flights",
    "inputs": [
        {"name": "carrier", "type": "category"},
        {"name": "distance", "type": "number"},
        {"name": "shape", "type": "vector", "size": 2, "optional": True},
    ],
    "output": {"type": "category", "classes": ["no", "yes"]},
    "model": {"kind": "tabular"},
}
VECTOR = {**FLIGHTS, "inputs": [{"name": "pixels", "type": "vector", "size": 2}]}
ROW = {"carrier": "AA", "distance": 3.5, "shape": [1.0, 2.0]}


def fetched(task: dict[str, Any], tables: list[pa.Table], path: Path) -> tuple[pa.Table, Any]:
    datasets, shards = FakeDatasetStore(), []
    files: dict[str, bytes] = {}
    for number, table in enumerate(tables):
        buffer = io.BytesIO()
        pq.write_table(table, buffer)
        data = buffer.getvalue()
        files[f"shards/v1-train-{number}.parquet"] = data
        shards.append(
            DatasetShard(
                path=f"shards/v1-train-{number}.parquet",
                num_rows=table.num_rows,
                sha256=digest_of_bytes(data),
                md5=md5_of(data),
                split="train",
            )
        )
    manifest = Manifest(
        version="flights/v1", parent=None, num_labels=1, num_labels_by_class={}, watermark="", shards=tuple(shards)
    )
    datasets.commit_version(manifest, files)
    rows = fetch_split(datasets, manifest, "train", path / "train.parquet", spec=TaskSpec.model_validate(task))
    return pq.read_table(path / "train.parquet"), rows


def stored(inputs: list[dict[str, Any]], labels: list[Any]) -> pa.Table:
    return pa.table({"id": [f"e{n}" for n in range(len(labels))], "inputs": inputs, "label": labels})


def test_a_version_with_features_is_read_as_the_only_vector_beside_a_newer_one(tmp_path: Path) -> None:
    old = pa.table({"id": ["a"], "features": [[1.0, 2.0]], "label": ["no"]})
    table, rows = fetched(VECTOR, [old, stored([{"pixels": [3.0, 4.0]}], ["yes"])], tmp_path)
    assert table.schema.names == ["id", "inputs", "label"] and rows[:2] == (2, {})
    assert table["inputs"].to_pylist() == [{"pixels": [1.0, 2.0]}, {"pixels": [3.0, 4.0]}]


def test_an_input_that_went_is_left_out_and_a_new_optional_one_is_missing(tmp_path: Path) -> None:
    row = {"carrier": "AA", "distance": 3.5, "weather": "rain"}
    table, _ = fetched(FLIGHTS, [stored([row], ["no"])], tmp_path)
    assert table["inputs"].to_pylist() == [{"carrier": "AA", "distance": 3.5, "shape": None}]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        pytest.param({"distance": None}, "1 of 1 rows lack the input 'distance'", id="missing"),
        pytest.param({"distance": "far"}, "do not fit the types of the task", id="other-type"),
        pytest.param(
            {"shape": [1.0]}, "1 of 1 rows have 1 numbers in 'shape'; the task 'flights' has size: 2", id="size"
        ),
    ],
)
def test_rows_that_fit_no_more_are_refused_by_name(change: dict[str, Any], reason: str, tmp_path: Path) -> None:
    with pytest.raises(DataRejected, match=r"flights/v1, shards/v1-train-0\.parquet: .*new name") as caught:
        fetched(FLIGHTS, [stored([{**ROW, **change}], ["no"])], tmp_path)
    assert reason in str(caught.value)


@pytest.mark.parametrize(
    ("output", "labels", "num", "left_out"),
    [
        pytest.param(FLIGHTS["output"], ["no", "gone", "gone"], 1, {"gone": 2}, id="category"),
        pytest.param({"type": "number"}, [1.0, 2.5, 3.0], 3, {}, id="number"),
        pytest.param({"type": "tags", "classes": ["a", "b"]}, [["a"], [], ["a", "x"]], 2, {"x": 1}, id="tags"),
    ],
)
def test_rows_of_classes_that_went_are_left_out_and_counted(
    output: Any, labels: list[Any], num: int, left_out: dict[str, int], tmp_path: Path
) -> None:
    table, rows = fetched({**FLIGHTS, "output": output}, [stored([ROW] * 3, labels)], tmp_path)
    assert (rows.num_rows, rows.left_out, table.num_rows) == (num, left_out, num)
