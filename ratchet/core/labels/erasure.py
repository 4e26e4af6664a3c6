"""Taking examples out of what is stored of them: label shards, dataset versions, records. Pure.

An erasure leaves each version readable and its name, and takes out of it what was erased: the files that held it are
written anew under their old paths, the manifest counts what is gone (`Manifest.erased`), and all else stays.
"""

import io
import json
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from html import escape
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from ratchet.core.digest import digest_of_bytes
from ratchet.core.errors import DataRejected
from ratchet.core.labels.dataset import DataFile, DatasetShard, Manifest, md5_of
from ratchet.core.labels.findings import PAGE_ID_CHARS_MAX
from ratchet.core.labels.shards import ShardCounts, Split, id_digest_of, split_of
from ratchet.core.labels.tables import parquet_of
from ratchet.core.lines import split_lines
from wire.printable import excerpt_of, printable
from wire.strict_json import BYTE_ORDER_MARK

IDS_MAX = 1_000
"""Of one order."""


def parse_ids(data: bytes, *, where: str) -> list[str]:
    """The ids of a file with one a line, blank lines left out; DataRejected names the first line that is not UTF-8."""
    ids = []
    for number, line in enumerate(split_lines(data.removeprefix(BYTE_ORDER_MARK)), 1):
        try:
            ids.append(line.decode().strip())
        except UnicodeDecodeError:
            raise DataRejected(
                f"{where}, line {number}: not UTF-8: {excerpt_of(line)}. Write one id a line, as UTF-8."
            ) from None
    return [each for each in ids if each]


class ErasureOrder(BaseModel):
    """What is being erased; kept until it is done, so that whoever dies, the next call completes it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    ids: tuple[str, ...] = Field(min_length=1, max_length=IDS_MAX)
    by: str
    reason: str
    at: AwareDatetime
    seq: int = Field(0, ge=0)
    """Of the record that it ends in; 0: not begun."""
    lines_by_shard: dict[str, int] = Field(default_factory=dict)
    """Key of each label shard that held some of them, to how many lines. Noted before any of them is rewritten."""
    versions: tuple[str, ...] = ()
    """That held at least one of them. Noted, as the next two, before any of them is replaced."""
    num_rows: int = 0
    """Of the newest of these versions."""
    stale_files: tuple[str, ...] = ()
    """Stored files that no version names once the versions are replaced."""
    digests: tuple[int, ...] = ()
    """How the payload log knows the inputs of these examples. Noted before any row of them is rewritten."""
    unreadable: tuple[str, ...] = ()
    """Label shards that cannot be read, and so not be searched."""
    num_answers: int | None = None
    """In the payload log; None: not counted yet. Noted, as the next one, before any of them is rewritten."""
    num_feedback: int = 0


class ErasureRecord(BaseModel):
    """What is kept of an erasure: when, by whom and how much; not what."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    seq: int = Field(ge=1)
    num_ids: int
    num_lines: int
    """Taken out of label shards."""
    num_rows: int
    """Taken out of the newest version that held some of them."""
    by: str
    reason: str
    at: AwareDatetime
    ended_at: AwareDatetime
    versions: tuple[str, ...] = ()
    """Dataset versions that held at least one of them."""
    models: tuple[str, ...] = ()
    """Models that were trained on one of these versions, by registry version or digest."""
    num_answers: int = 0
    """Taken out of the payload log: answers to the same inputs."""
    num_feedback: int = 0
    """True labels of these answers, taken out of feedback."""
    read: Mapping[str, int] = {}
    """Kind of file to how many of them were read by the call that completed it."""
    unreadable: tuple[str, ...] = ()
    """What could not be searched: a person has to look at it."""


class Scanned(NamedTuple):
    """What is looked at, for a progress bar."""

    what: str
    num_done: int
    num: int


Watch = Callable[[Scanned], None]


class Removed(NamedTuple):
    """A file without the erased rows."""

    data: bytes
    """Empty when nothing is left."""
    num_rows: int
    """That were taken out."""
    labels: tuple[Any, ...] = ()
    """Of those rows, as they were stored."""
    lines: Sequence[Mapping[str, Any]] = ()
    """The fields of those that came from a label shard."""
    rows: pa.Table | None = None
    """Those that came from a Parquet file."""
    digests: frozenset[int] = frozenset()
    """How the payload log knows these examples, once somebody has looked at `lines` or `rows`."""


def splits_of(ids: Iterable[str]) -> frozenset[Split]:
    """Where these examples can be: the split is a function of the id."""
    return frozenset(split_of(each) for each in ids)


def shard_without(key: str, data: bytes, ids: Collection[str]) -> Removed | None:
    """A label shard without the lines or rows of these examples; None when it has none. DataRejected when it cannot be
    read."""
    if not key.endswith(".parquet"):
        return lines_without(data, ids)
    try:
        removed = rows_without(data, ids)
        return removed and removed._replace(lines=removed.rows.to_pylist() if removed.rows else ())
    except (pa.ArrowException, OSError, ValueError) as error:
        raise DataRejected(f"{key}: cannot be read ({printable(str(error))}).") from None


def lines_without(data: bytes, ids: Collection[str]) -> Removed | None:
    """A JSONL file without the lines of these examples; None when it has none.

    A line that is no JSON object goes too when it holds one of the ids as text: nobody can say whose it is.
    """
    texts = [json.dumps(each, ensure_ascii=escaped)[1:-1].encode() for each in ids for escaped in (True, False)]
    kept: list[bytes] = []
    removed: list[Mapping[str, Any]] = []
    for line in data.split(b"\n"):
        fields = _fields_of_one(line, ids, texts)
        if fields is None:
            kept.append(line)
        else:
            removed.append(fields)
    if not removed:
        return None
    left = b"\n".join(kept)
    return Removed(left if left.strip() else b"", len(removed), lines=removed)


def _fields_of_one(line: bytes, ids: Collection[str], texts: Sequence[bytes]) -> Mapping[str, Any] | None:
    """What a line says of one of these examples, nothing when it cannot be read; None when it is of none of them."""
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return {} if any(text in line for text in texts) else None
    is_one = isinstance(value, dict) and isinstance(value.get("id"), str) and value["id"] in ids
    return value if is_one else None


def counts_of(key: str, data: bytes) -> ShardCounts:
    """What a label shard of these bytes says of itself."""
    if not data:
        return ShardCounts(num_labels=0)
    if key.endswith(".parquet"):
        return ShardCounts(num_labels=pq.ParquetFile(io.BytesIO(data)).metadata.num_rows)
    return ShardCounts(num_labels=sum(1 for line in data.split(b"\n") if line.strip()))


def rows_without(data: bytes, ids: Collection[str]) -> Removed | None:
    """A Parquet file with a column `id` without the rows of these examples; None when it has none."""
    file = pq.ParquetFile(io.BytesIO(data))
    if "id" not in file.schema_arrow.names:
        return None
    column = file.read(columns=["id"])["id"]
    if not _is_text(column.type):
        return None
    is_erased = pc.is_in(column.cast(pa.string()), value_set=pa.array(sorted(ids), pa.string()))
    num_removed = pc.sum(is_erased).as_py() or 0
    if not num_removed:
        return None
    table = file.read()
    taken, kept = table.filter(is_erased), table.filter(pc.invert(is_erased))
    labels = taken["label"].to_pylist() if "label" in table.column_names else []
    return Removed(parquet_of(kept) if kept.num_rows else b"", num_removed, tuple(labels), rows=taken)


def _is_text(kind: pa.DataType) -> bool:
    value = kind.value_type if pa.types.is_dictionary(kind) else kind
    return bool(pa.types.is_string(value) or pa.types.is_large_string(value))


def page_without(data: bytes, ids: Collection[str]) -> bytes | None:
    """In the place of a page for people that names one of these examples; None for one that names none.

    The page goes as a whole: what it says of an example is in sentences and pictures, not in rows.
    """
    shown = "|".join(re.escape(escape(printable(each, chars_max=PAGE_ID_CHARS_MAX))) for each in ids)
    if not re.search(rf"(?<![\w-])(?:{shown})(?![\w-])", data.decode(errors="replace")):
        return None
    return b"<!doctype html><title>Erased</title><p>This page named an example that was erased since, and is gone.</p>"


def index_without(data: bytes, ids: Collection[str]) -> Removed | None:
    """An index file without what it knows of these examples; None when it knows nothing of them."""
    table = pq.read_table(io.BytesIO(data))
    digests = np.array([id_digest_of(each) for each in ids], dtype=np.uint64)
    is_erased = np.isin(table["id_digest"].to_numpy(), digests)
    if not is_erased.any():
        return None
    kept = table.filter(pa.array(~is_erased))
    return Removed(parquet_of(kept) if kept.num_rows else b"", int(is_erased.sum()))


def manifest_without(manifest: Manifest, removed: Mapping[str, Removed]) -> Manifest | None:
    """The manifest of a version whose files are replaced; None when none of them is in it. removed: by md5 before.

    A file of which nothing is left is in it no more.
    """
    touched = [file for file in manifest.files if file.md5 in removed]
    if not touched:
        return None
    shards = [file for file in touched if isinstance(file, DatasetShard)]
    num_rows = sum(removed[file.md5].num_rows for file in shards)
    by_class = Counter(manifest.num_labels_by_class)
    by_class.subtract(label for file in shards for label in removed[file.md5].labels if isinstance(label, str))
    return manifest.model_copy(
        update={
            "num_labels": manifest.num_labels - num_rows,
            "num_labels_by_class": {name: number for name, number in sorted(by_class.items()) if number > 0},
            "shards": _replaced(manifest.shards, removed),
            "index": _replaced(manifest.index, removed),
            "overlays": _replaced(manifest.overlays, removed),
            "erased": manifest.erased + num_rows,
        }
    )


def _replaced(files: Sequence[DataFile], removed: Mapping[str, Removed]) -> tuple[DataFile, ...]:
    kept = []
    for file in files:
        found = removed.get(file.md5)
        if found is None:
            kept.append(file)
        elif found.data:
            new = {"num_rows": file.num_rows - found.num_rows, "sha256": digest_of_bytes(found.data)}
            kept.append(file.model_copy(update={**new, "md5": md5_of(found.data)}))
    return tuple(kept)
