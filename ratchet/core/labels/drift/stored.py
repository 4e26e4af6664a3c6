"""A sketch as a Parquet file. Pure."""

import io
import itertools
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ratchet.core.labels.drift.sketches import LevelSketch, NumberSketch, SampleSketch, Sketch
from ratchet.core.labels.drift.tables import TableSketch

_STORED = pa.schema(
    [
        ("key", pa.string()),
        ("kind", pa.string()),
        ("scalars", pa.string()),
        ("floats", pa.list_(pa.float64())),
        ("sizes", pa.list_(pa.int64())),
        ("names", pa.list_(pa.string())),
        ("hashes", pa.list_(pa.uint64())),
    ]
)
"""sizes: of each level of quantiles, or the counts of the names, or the number of features."""


def bytes_of_sketch(sketch: TableSketch, covers: Sequence[str]) -> bytes:
    """One Parquet file. covers: what it is a sketch of, for `sketch_of_bytes`."""
    rows = [_stored(key, part) for key, part in sketch.parts.items()]
    metadata = {"num_rows": str(sketch.num_rows), "covers": json.dumps(list(covers))}
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows, schema=_STORED.with_metadata(metadata)), buffer, compression="zstd")
    return buffer.getvalue()


def sketch_of_bytes(data: bytes) -> tuple[TableSketch, tuple[str, ...]]:
    """The sketch and what it covers. ValueError, or an error of Arrow, when it is none."""
    table = pq.read_table(io.BytesIO(data))
    metadata = table.schema.metadata or {}
    if b"covers" not in metadata or table.schema.names != _STORED.names:
        raise ValueError("this is not a sketch")
    parts = {row["key"]: _restored(row) for row in table.to_pylist()}
    return TableSketch(int(metadata[b"num_rows"]), parts), tuple(json.loads(metadata[b"covers"]))


def _stored(key: str, part: Sketch) -> dict[str, Any]:
    scalars = {"num_rows": part.num_rows, "num_missing": part.num_missing}
    row: dict[str, Any] = {
        "key": key,
        "kind": type(part).__name__,
        "floats": [],
        "sizes": [],
        "names": [],
        "hashes": [],
    }
    match part:
        case NumberSketch():
            scalars |= {"error_rows": part.error_rows}
            row["floats"] = [part.mean, part.squares, part.low, part.high, *np.concatenate([[], *part.levels]).tolist()]
            row["sizes"] = [len(level) for level in part.levels]
        case LevelSketch():
            scalars |= {"error_rows": part.error_rows, "num_other": part.num_other}
            row |= {"names": list(part.counts), "sizes": list(part.counts.values())}
        case SampleSketch():
            row["floats"] = part.features_SD.ravel().tolist()
            row |= {"hashes": part.hashes_S, "sizes": [part.features_SD.shape[1]]}
    return {**row, "scalars": json.dumps(scalars)}


def _restored(row: Mapping[str, Any]) -> Sketch:
    scalars, floats = json.loads(row["scalars"]), np.array(row["floats"], np.float64)
    match row["kind"]:
        case "NumberSketch":
            mean, squares, low, high = floats[:4].tolist()
            ends = np.cumsum([0, *row["sizes"]])
            levels = tuple(floats[4 + start : 4 + end] for start, end in itertools.pairwise(ends))
            return NumberSketch(**scalars, mean=mean, squares=squares, low=low, high=high, levels=levels)
        case "LevelSketch":
            return LevelSketch(**scalars, counts=dict(zip(row["names"], row["sizes"], strict=True)))
        case "SampleSketch":
            features = floats.astype(np.float32).reshape(-1, row["sizes"][0])
            return SampleSketch(**scalars, hashes_S=np.array(row["hashes"], np.uint64), features_SD=features)
    raise ValueError(f"no sketch is of kind {row['kind']!r}")
