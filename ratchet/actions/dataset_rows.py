"""The rows of one split of a dataset version, gathered into one local file."""

import io
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from ratchet.core.dataset import Manifest
from ratchet.core.labels import Split
from ratchet.core.ports import DatasetStore

_SCHEMA = pa.schema([("id", pa.string()), ("features", pa.list_(pa.float64())), ("label", pa.string())])


def fetch_split(datasets: DatasetStore, manifest: Manifest, split: Split, path: Path) -> int:
    """Write all rows of a split as one Parquet file with the columns id, features, label; gives their number."""
    tables = [
        pq.read_table(io.BytesIO(datasets.fetch_shard(shard)), columns=_SCHEMA.names).cast(_SCHEMA)
        for shard in manifest.shards
        if shard.split == split
    ]
    table = pa.concat_tables([_SCHEMA.empty_table(), *tables])
    pq.write_table(table, path)
    return int(table.num_rows)
