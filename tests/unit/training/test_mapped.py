"""Rows in a mapped file are the rows that memory would have, and nothing of the file is left behind."""

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ratchet.core.errors import DataRejected
from ratchet.tasks.bound import TorchTask
from ratchet.tasks.loading import load_task
from ratchet.tasks.spec import TaskSpec
from ratchet.training.checks import check_inputs
from ratchet.training.data import load_tensors
from ratchet.training.made_up import made_up_rows
from ratchet.training.mapped import encode_in_parts, parts_of
from ratchet.training.mapped_table import read_table
from ratchet.training.split_rows import read_split

_MANY = 700_000
"""Rows of 7 columns, which is beyond what stays in memory."""
NUMBERS: list[dict[str, Any]] = [{"name": f"x{place}", "type": "number"} for place in range(4)]
MIXED: list[dict[str, Any]] = [
    *NUMBERS,
    {"name": "kind", "type": "category", "optional": True},
    {"name": "said", "type": "text"},
]


def spec_of(inputs: list[dict[str, Any]], kind: str) -> TaskSpec:
    output = {"name": "label", "type": "category", "classes": ["a", "b"]}
    return TaskSpec.model_validate({"name": "t", "inputs": inputs, "output": output, "model": {"kind": kind}})


@given(st.integers(1, 100_000), st.integers(0, 2**40))
def test_parts_are_all_rows_in_their_order(num_rows, num_bytes):
    parts = parts_of(num_rows, num_bytes)
    assert parts[0].start == 0 and parts[-1].stop == num_rows
    assert all(one.stop == other.start for one, other in pairwise(parts))
    assert all(0 < part.stop - part.start <= 8_192 for part in parts)


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("many") / "train.parquet"
    places = np.arange(_MANY)
    columns = [pa.array((places % (7 + each)).astype(np.float64)) for each in range(4)]
    kinds = pa.array(np.where(places % 5, "k", "j"), mask=places % 11 == 0)
    said = pa.array(["long word", "b", "", "ü"]).take(pa.array(places % 4))
    inputs = pa.StructArray.from_arrays([*columns, kinds, said], names=[each["name"] for each in MIXED])
    labels = pa.array(["a", "b"]).take(pa.array(places % 2))
    pq.write_table(pa.table({"inputs": inputs, "label": labels}), path)
    return path


def test_a_large_table_is_mapped_and_reads_the_same(many):
    table = read_table(many)
    assert table.equals(pq.read_table(many))
    assert table["label"].num_chunks > 1
    inputs, labels = read_split(many, spec_of(MIXED, "tabular"))
    assert inputs.column_names == [each["name"] for each in MIXED] and inputs["said"].num_chunks > 1
    assert inputs.slice(_MANY - 1, 1).to_pylist() == [pq.read_table(many)["inputs"][-1].as_py()]
    assert len(labels) == _MANY
    assert [each.name for each in many.parent.iterdir()] == [many.name]


def test_many_rows_are_encoded_to_the_bits_of_one_table(many):
    spec = spec_of(NUMBERS, "tabular")
    inputs, labels = read_split(many, spec)
    task = TorchTask(spec, load_task(spec)).fitted(inputs.append_column("label", labels).slice(0, 1_000))
    encoded, found = load_tensors(many, task)
    assert torch.equal(encoded, task.encode(inputs)) and len(found) == _MANY
    assert [each.name for each in many.parent.iterdir()] == [many.name]


@pytest.mark.parametrize(
    ("kind", "inputs"),
    [
        pytest.param("tabular", [*NUMBERS, {"name": "kind", "type": "category", "optional": True}], id="tabular"),
        pytest.param("tabular", MIXED, id="tabular-with-text"),
        pytest.param("vector", [{"name": "v", "type": "vector", "size": 9, "optional": True}], id="vector"),
        pytest.param("text", [{"name": "said", "type": "text"}], id="text"),
        pytest.param("image", [{"name": "photo", "type": "image", "width": 5, "height": 4, "channels": 3}], id="image"),
    ],
)
def test_each_kind_encodes_parts_to_the_bits_of_the_whole_or_has_rows_of_several_lengths(kind, inputs, tmp_path):
    spec = spec_of(inputs, kind)
    rows, labels = made_up_rows(spec.examples, 50)
    task = TorchTask(spec, load_task(spec)).fitted(rows.append_column("label", labels))
    parts = [slice(start, min(50, start + 7)) for start in range(0, 50, 7)]
    encoded = encode_in_parts(lambda part: task.encode(rows.slice(part.start, part.stop - part.start)), parts, tmp_path)
    assert encoded is None or torch.equal(encoded, task.encode(rows))
    assert (encoded is None) == any(each["type"] == "text" for each in inputs), "filled up to the longest"
    assert not [*tmp_path.iterdir()]


def test_rows_without_numbers_and_of_one_part_are_rows_too(tmp_path):
    for rows in (torch.ones(3, 0), torch.ones(3).long()):
        encoded = encode_in_parts(rows.__getitem__, [slice(0, 3)], tmp_path)
        assert encoded is not None and torch.equal(encoded, rows) and encoded.dtype == rows.dtype


def test_a_number_that_is_not_finite_is_told_by_its_row_among_all():
    rows = torch.tensor([[1.0], [torch.nan]])
    with pytest.raises(DataRejected, match="first for row 9 of 10"):
        check_inputs(rows, num_rows=2, where="A.encode", first=8)
