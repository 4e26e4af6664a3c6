"""From files and shards of labels to labels that the task can learn from."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ratchet.core.errors import DataRejected, NotFound
from ratchet.core.labels import SHARD_BYTES_MAX, Label, LabelSchema, parse_label_rows, parse_labels
from ratchet.tasks.spec import TaskSpec


def label_schema_of(spec: TaskSpec, *, with_range: bool) -> LabelSchema:
    """What labels of a task look like. With the range, where a person can still correct the file (`labels push`)."""
    features = spec.features
    limits = {"min_value": features.min_value, "max_value": features.max_value} if with_range else {}
    return LabelSchema(classes=spec.classes, num_features=features.num_features, **limits)


def read_shard(key: str, data: bytes, *, schema: LabelSchema) -> tuple[Label, ...]:
    """Every label of a stored shard; DataRejected names the shard, the line and the reason."""
    if len(data) > SHARD_BYTES_MAX:
        raise DataRejected(f"{key}: {len(data):,} bytes; the limit is {SHARD_BYTES_MAX:,}. Push it in parts.")
    if key.endswith(".parquet"):
        return parse_label_rows(_parquet_rows(key, data), schema=schema, where=key)
    return parse_labels(_lines(data, where=key), schema=schema, where=key)


def read_label_file(
    path: Path,
    *,
    schema: LabelSchema,
    defaults: Mapping[str, Any],
    watch: Callable[[Sequence[str]], Iterable[str]] = iter,
) -> tuple[Label, ...]:
    """Every label of a JSONL file of a person. `watch` sees the lines go by (a progress bar)."""
    try:
        data = _checked_size(path).read_bytes()
    except FileNotFoundError:
        raise NotFound(f"{path} is not there. Name a JSONL file of labels.") from None
    except OSError as error:
        raise DataRejected(f"{path}: {error.strerror}. Name a readable JSONL file of labels.") from None
    return parse_labels(watch(_lines(data, where=str(path))), schema=schema, where=str(path), defaults=defaults)


def _checked_size(path: Path) -> Path:
    size_bytes = path.stat().st_size
    if size_bytes > SHARD_BYTES_MAX:
        raise DataRejected(f"{path}: {size_bytes:,} bytes; the limit is {SHARD_BYTES_MAX:,}. Split it (`split -l`).")
    return path


def _lines(data: bytes, *, where: str) -> list[str]:
    try:
        return data.decode("utf-8-sig").split("\n")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise DataRejected(f"{where}, line {line}: not UTF-8. Save the file as UTF-8 and push it again.") from None


def _parquet_rows(key: str, data: bytes) -> list[dict[str, Any]]:
    from ratchet.adapters.parquet import table_of

    rows = table_of(data, where=key).to_pylist()
    return [{name: value for name, value in row.items() if value is not None} for row in rows]
