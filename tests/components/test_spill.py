"""The inputs of a batch on disk: what comes back, and how much of it is in memory."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from components.ingest.files import VersionFiles, shard_files
from components.ingest.spill import Spill
from ratchet.core.labels.schema import ExampleSchema
from ratchet.core.labels.tables import table_of

KIND = pa.schema(
    [("inputs", pa.struct([("number", pa.float64()), ("text", pa.string()), ("list", pa.list_(pa.int8()))]))]
)


def rows_of(numbers: range) -> pa.Table:
    texts = {each: None if each % 3 else f"t{each}" for each in numbers}
    rows = [{"inputs": {"number": float(each), "text": texts[each], "list": [each % 5]}} for each in numbers]
    return pa.Table.from_pylist(rows, KIND)


def spilled(folder: Path, sizes: list[int], rows: pa.Table) -> Spill:
    spill, start = Spill(folder / "rows.arrow", rows.schema), 0
    for size in sizes:
        spill.add(rows.slice(start, size))
        start += size
    spill.close()
    return spill


@given(data=st.data())
@settings(max_examples=30, deadline=None)
def test_rows_come_back_as_they_were_added_and_as_they_are_asked_for(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    sizes = data.draw(st.lists(st.integers(0, 9), max_size=6))
    rows = rows_of(range(sum(sizes)))
    spill = spilled(tmp_path_factory.mktemp("spill"), sizes, rows)
    back = [(start, pa.Table.from_batches([batch])) for start, batch in spill]
    assert pa.concat_tables([KIND.empty_table(), *(table for _, table in back)]).to_pylist() == rows.to_pylist()
    assert all(table.equals(rows.slice(start, table.num_rows)) for start, table in back)
    order = np.array(data.draw(st.permutations(range(len(rows)))), dtype=np.int64)
    parts = np.split(order, sorted(data.draw(st.lists(st.integers(0, len(order)), max_size=3))))
    for part, found in zip(parts, spill.parts(parts), strict=True):
        assert found.to_pylist() == rows.take(pa.array(part)).to_pylist()


@pytest.mark.slow
def test_rows_of_pictures_are_held_a_few_at_a_time(tmp_path: Path) -> None:
    """60 pictures of 3 MiB each, 20 in a shard."""
    side = 1024
    inputs = [{"name": "photo", "type": "image", "width": side, "height": side}]
    output = {"type": "category", "classes": ["no", "yes"]}
    schema = ExampleSchema.model_validate({"inputs": inputs, "output": output})
    size, num, per_shard = 3 * side * side, 60, 20
    spill = Spill(tmp_path / "inputs.arrow", pa.schema([schema.rows_schema.field("inputs")]))
    for shard in range(num // per_shard):
        photos = [bytes([shard * per_shard + each]) * size for each in range(per_shard)]
        photo = pa.array(photos, pa.binary(size))
        spill.add(pa.table({"inputs": pa.StructArray.from_arrays([photo], fields=list(schema.inputs_type))}))
        del photos, photo
    spill.close()
    before = pa.total_allocated_bytes()
    held = [pa.total_allocated_bytes() - before for _ in spill]
    assert max(held) < 48 << 20
    said = pa.table(
        {"id": [f"{each:03}" for each in range(num)], "label": ["no"] * num, "labeler": ["ada"] * num,
         "labeled_at": pa.array([0] * num, pa.timestamp("us", tz="UTC"))}
    )  # fmt: skip
    files = VersionFiles(tmp_path)
    shards = shard_files(said, np.arange(num)[::-1], np.zeros(num, np.uint64), spill, schema, 1, files)
    assert max(shard.num_rows for shard in shards) * size <= 128 << 20
    found = [row for shard in shards for row in table_of(files[shard.path], where=shard.path).to_pylist()]
    assert [row["id"] for row in found] == said["id"].to_pylist()
    assert [row["inputs"]["photo"][0] for row in found] == [*range(num)][::-1]
