import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ratchet.core.errors import DataRejected
from ratchet.tasks.spec import TaskSpec
from ratchet.training.data import batches_of, num_batches_of
from ratchet.training.split_rows import labels_of, read_split
from tests.models import DIGITS


def spec_of(output: dict[str, object]) -> TaskSpec:
    inputs = [{"name": "n", "type": "number"}]
    return TaskSpec.model_validate({"name": "a", "inputs": inputs, "output": output, "model": {"kind": "tabular"}})


@pytest.mark.parametrize(
    ("num_rows", "world_size", "num"),
    [
        pytest.param(1000, 2, 16, id="as-asked"),
        pytest.param(64, 2, 1, id="exactly-one-batch"),
        pytest.param(70, 2, 1, id="the-rest-joins-the-batch"),
        pytest.param(100, 2, 2, id="two-smaller-ones"),
        pytest.param(2, 2, 1, id="one-row-a-worker"),
        pytest.param(700, 512, 1, id="a-batch-smaller-than-the-workers"),
    ],
)
def test_the_number_of_batches(num_rows, world_size, num):
    assert num_batches_of(num_rows, batch_size=64, world_size=world_size) == num


def test_too_few_rows_for_the_workers_are_refused():
    with pytest.raises(DataRejected, match="1 training rows are too few for 2 workers"):
        num_batches_of(1, batch_size=64, world_size=2)


@given(st.integers(4, 300), st.integers(1, 4), st.integers(0, 5))
def test_workers_share_each_batch_and_every_row_comes_once(num_rows, world_size, epoch):
    by_rank = [
        list(batches_of(num_rows, epoch=epoch, seed=1, batch_size=32, rank=rank, world_size=world_size))
        for rank in range(world_size)
    ]
    steps = list(zip(*by_rank, strict=True))
    for parts in steps:
        sizes = [len(part.rows) for part in parts]
        assert max(sizes) - min(sizes) <= 1 and min(sizes) >= 1
        assert {part.num_rows for part in parts} == {sum(sizes)}
    assert sorted(int(row) for parts in steps for part in parts for row in part.rows) == list(range(num_rows))


@given(st.integers(8, 300), st.integers(2, 8), st.integers(0, 5))
def test_the_order_of_the_rows_is_the_same_for_any_number_of_workers(num_rows, world_size, epoch):
    def order(num_workers):
        parts = [
            batches_of(num_rows, epoch=epoch, seed=1, batch_size=32, rank=rank, world_size=num_workers)
            for rank in range(num_workers)
        ]
        return [torch.cat([part.rows for part in step]).sort().values.tolist() for step in zip(*parts, strict=True)]

    assert order(world_size) == order(1)


def test_an_empty_split_reads_as_no_rows(tmp_path):
    schema = pa.schema([("features", pa.list_(pa.float64())), ("label", pa.string())])
    pq.write_table(schema.empty_table(), tmp_path / "empty.parquet")
    inputs, labels = read_split(tmp_path / "empty.parquet", DIGITS)
    assert inputs.column_names == ["features"]
    assert labels_of(labels, DIGITS).shape == (0,)


def test_rows_of_before_and_of_now_read_the_same(tmp_path):
    before = pa.table({"id": ["a", "b"], "features": [[1.0] * 64, [2.0] * 64], "label": ["3", "4"]})
    now = pa.Table.from_pylist(
        [
            {"id": "a", "inputs": {"features": [1.0] * 64}, "label": "3"},
            {"id": "b", "inputs": {"features": [2.0] * 64}, "label": "4"},
        ],
        schema=pa.schema([("id", pa.string()), ("inputs", DIGITS.examples.inputs_type), ("label", pa.string())]),
    )
    read = []
    for name, rows in (("before", before), ("now", now)):
        pq.write_table(rows, tmp_path / f"{name}.parquet")
        read.append(read_split(tmp_path / f"{name}.parquet", DIGITS))
    assert read[0][0].to_pylist() == read[1][0].to_pylist()
    assert [labels_of(labels, DIGITS).tolist() for _, labels in read] == [[3, 4], [3, 4]]


def test_labels_are_read_by_the_type_of_the_output():
    tags = spec_of({"type": "tags", "classes": ["x", "y", "z"]})
    read = labels_of(pa.chunked_array([pa.array([["x", "z"], [], ["y", "not-a-tag"]])]), tags)
    assert read.tolist() == [[1, 0, 1], [0, 0, 0], [0, 1, 0]]
    assert labels_of(pa.chunked_array([pa.array([1.5, -2.0])]), spec_of({"type": "number"})).tolist() == [1.5, -2.0]
    with pytest.raises(DataRejected, match="the label 'x' is no class of the task 'digits'"):
        labels_of(pa.chunked_array([pa.array(["1", "x"])]), DIGITS)
