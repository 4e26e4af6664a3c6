import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ratchet.core.errors import DataRejected
from ratchet.tasks.spec import TaskSpec
from ratchet.training.data import batch_size_of, batches_of, labels_of, read_split
from tests.models import DIGITS


def spec_of(output: dict[str, object]) -> TaskSpec:
    inputs = [{"name": "n", "type": "number"}]
    return TaskSpec.model_validate({"name": "a", "inputs": inputs, "output": output, "model": {"kind": "tabular"}})


@pytest.mark.parametrize(
    ("num_rows", "world_size", "size"),
    [
        pytest.param(1000, 2, 64, id="as-asked"),
        pytest.param(64, 2, 64, id="exactly-one-batch"),
        pytest.param(63, 2, 62, id="fewer-rows-than-a-batch"),
        pytest.param(2, 2, 2, id="one-row-a-worker"),
        pytest.param(100, 3, 63, id="not-divisible"),
    ],
)
def test_batch_size(num_rows, world_size, size):
    assert batch_size_of(num_rows, batch_size=64, world_size=world_size) == size


def test_too_few_rows_for_the_workers_are_refused():
    with pytest.raises(DataRejected, match="1 training rows are too few for 2 workers"):
        batch_size_of(1, batch_size=64, world_size=2)


@given(st.integers(4, 300), st.integers(1, 4), st.integers(0, 5))
def test_workers_share_each_batch_equally_and_no_row_comes_twice(num_rows, world_size, epoch):
    by_rank = [
        list(batches_of(num_rows, epoch=epoch, seed=1, batch_size=32, rank=rank, world_size=world_size))
        for rank in range(world_size)
    ]
    assert len({len(batches) for batches in by_rank}) == 1
    assert len({len(batch) for batches in by_rank for batch in batches}) == 1
    seen = [int(row) for batches in by_rank for batch in batches for row in batch]
    assert len(seen) == len(set(seen))


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
