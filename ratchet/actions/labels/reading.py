"""From files and shards of labels to labels that the task can learn from."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ratchet.core.errors import DataRejected, NotFound
from ratchet.core.labels.parsing import parse_label_rows, parse_labels
from ratchet.core.labels.shards import SHARD_BYTES_MAX, Label, LabelSchema
from ratchet.core.lines import split_lines
from ratchet.tasks.spec import TaskSpec
from wire.printable import printable


def label_schema_of(spec: TaskSpec, *, with_range: bool) -> LabelSchema:
    """What labels of a task look like. With the range, where a person can still correct the file (`labels push`)."""
    features = spec.features
    limits = {"min_value": features.min_value, "max_value": features.max_value} if with_range else {}
    return LabelSchema(classes=spec.classes, num_features=features.num_features, **limits)


def read_shard(key: str, data: bytes, *, schema: LabelSchema) -> tuple[Label, ...]:
    """Every label of a stored shard; DataRejected names the shard, the line and the reason. Nothing else is raised:
    no file, however odd, stops those that wait beside it."""
    try:
        return _read_shard(key, data, schema=schema)
    except DataRejected:
        raise
    except Exception as error:
        found = printable(f"{type(error).__name__}: {error}")
        raise DataRejected(f"{key}: cannot be read ({found}). Write it again and push it under a new key.") from error


def _read_shard(key: str, data: bytes, *, schema: LabelSchema) -> tuple[Label, ...]:
    if len(data) > SHARD_BYTES_MAX:
        raise DataRejected(f"{key}: {len(data):,} bytes; the limit is {SHARD_BYTES_MAX:,}. Push it in parts.")
    if key.endswith(".parquet"):
        from ratchet.adapters.parquet_shard import iter_parquet_rows

        return parse_label_rows(iter_parquet_rows(data, where=key), schema=schema, where=key)
    return parse_labels(split_lines(data), schema=schema, where=key)


def read_label_file(
    path: Path,
    *,
    schema: LabelSchema,
    defaults: Mapping[str, Any],
    watch: Callable[[Sequence[bytes]], Iterable[bytes]] = iter,
) -> tuple[Label, ...]:
    """Every label of a JSONL file of a person. `watch` sees the lines go by (a progress bar)."""
    try:
        data = _checked_size(path).read_bytes()
    except FileNotFoundError:
        raise NotFound(f"{path} does not exist. Name a JSONL file of labels.") from None
    except OSError as error:
        raise DataRejected(f"{path}: {error.strerror}. Name a readable JSONL file of labels.") from None
    return parse_labels(watch(split_lines(data)), schema=schema, where=str(path), defaults=defaults)


def _checked_size(path: Path) -> Path:
    size_bytes = path.stat().st_size
    if size_bytes > SHARD_BYTES_MAX:
        raise DataRejected(f"{path}: {size_bytes:,} bytes; the limit is {SHARD_BYTES_MAX:,}. Split it (`split -l`).")
    return path
