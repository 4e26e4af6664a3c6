import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ratchet.core.errors import DataRejected
from ratchet.training.data import batch_size_of, batches_of, read_rows
from tests.models import DIGITS


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


def test_an_empty_split_reads_as_no_rows_of_the_right_width(tmp_path):
    schema = pa.schema([("features", pa.list_(pa.float64())), ("label", pa.string())])
    pq.write_table(schema.empty_table(), tmp_path / "empty.parquet")
    features_NF, labels_N = read_rows(tmp_path / "empty.parquet", DIGITS)
    assert features_NF.shape == (0, 64)
    assert labels_N.shape == (0,)
