"""The rows that a batch prediction is asked about: of a dataset version, of an S3 prefix, or of files here. A part of a
file at a time is in memory; a file of S3 or of a version is fetched whole, and is no larger than a label shard."""

import io
import re
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from ratchet.core.digest import digest_of
from ratchet.core.errors import Conflict, DataRejected, NotFound, SettingsError
from ratchet.core.labels.schema import ExampleSchema, inputs_table
from ratchet.core.labels.shards import SHARD_BYTES_MAX
from ratchet.core.labels.tables import as_rows, table_of
from ratchet.core.models.batch import InputFile
from ratchet.core.ports import DatasetStore, ObjectStore
from wire.strict_json import BYTE_ORDER_MARK, LINE_BYTES_MAX, NotJson, parse_json
from wire.validation_text import found_text

_S3 = "s3://"
_VERSION = re.compile(r"[^/:\s]+/v[0-9]+")
_KINDS: dict[str, Any] = {".jsonl": "jsonl", ".ndjson": "jsonl", ".parquet": "parquet"}
_PICTURES = (".png", ".jpg", ".jpeg", ".webp")
PICTURE_FAULTS = (NotFound, SettingsError, DataRejected)
"""Why a picture cannot be fetched, of its row alone. A store that is away is no fault of a row."""
_READ_ROWS = 4_096
"""Of a Parquet file at once."""


class BatchRows(NamedTuple):
    """Some rows of a file, of which each is asked about once."""

    numbers: Sequence[int]
    """From 1; of JSONL that of the line."""
    ids: Sequence[Any]
    inputs: Sequence[Any] | None
    """By name, as JSON has them, or the reason why a row has none, as a text; None where there is a `table`."""
    table: pa.Table | None
    """A column for each input that the file has."""

    def __len__(self) -> int:
        return len(self.numbers)

    def part(self, start: int, stop: int) -> "BatchRows":
        return BatchRows(
            self.numbers[start:stop],
            self.ids[start:stop],
            None if self.inputs is None else self.inputs[start:stop],
            None if self.table is None else self.table.slice(start, stop - start),
        )


class BatchSources:
    """Where rows may lie."""

    def __init__(self, objects: ObjectStore, datasets: Callable[[], DatasetStore]) -> None:
        """datasets: asked for when a dataset version is named."""
        self._objects, self.datasets = objects, datasets
        # A batch asks for each file of one version.
        self._shards_of = cache(lambda version: datasets().fetch_manifest(version).shards)

    def list_files(self, source: str, schema: ExampleSchema) -> tuple[InputFile, ...]:
        """In order. NotFound when there is none, DataRejected for what is none of the kinds."""
        if source.startswith(_S3):
            files = self._list_objects(source, schema)
        elif _VERSION.fullmatch(source) and not Path(source).exists():
            files = tuple(
                InputFile(uri=each.path, kind="shard", content=each.sha256) for each in self._shards_of(source)
            )
        else:
            files = _list_paths(Path(source))
        if not files:
            raise NotFound(f"{source} holds no .jsonl or .parquet file. Name a file, a folder, or a dataset version.")
        return files

    def read_parts(
        self, file: InputFile, *, source: str, schema: ExampleSchema, size: int, skip: Callable[[int], bool]
    ) -> Iterator[tuple[int, int, BatchRows | None]]:
        """(number of the part, how many rows it has, the rows; None of a part to skip)."""
        match file.kind:
            case "jsonl":
                with self._open(file.uri) as opened:
                    yield from _line_parts(opened, schema, size=size, skip=skip)
            case "pictures":
                uris = [stored.uri for stored in self._list_pictures(source)]
                if digest_of(uris) != file.content:
                    raise Conflict(f"{source}: pictures came or went meanwhile. Start again with an empty folder.")
                name = next(iter(schema.of_type("image"))).name
                whole = BatchRows(range(1, len(uris) + 1), uris, [{name: uri} for uri in uris], None)
                yield from _cut(iter([whole]), size=size, skip=skip)
            case "shard":
                shard = next(each for each in self._shards_of(source) if each.path == file.uri)
                stored = as_rows(table_of(self.datasets().fetch_shard(shard), where=file.uri), schema, where=file.uri)
                whole = BatchRows(range(1, stored.num_rows + 1), stored["id"], None, inputs_table(stored, schema))
                yield from _cut(iter([whole]), size=size, skip=skip)
            case "parquet":
                with self._open(file.uri) as opened:
                    yield from _cut(_read_parquet(opened, schema, where=file.uri), size=size, skip=skip)

    def _open(self, uri: str) -> BinaryIO:
        return io.BytesIO(self._objects.fetch(uri)) if uri.startswith(_S3) else Path(uri).open("rb")

    def _list_objects(self, prefix: str, schema: ExampleSchema) -> tuple[InputFile, ...]:
        found = list(self._objects.list_objects(prefix))
        files = []
        for stored in found:
            kind = _KINDS.get(Path(stored.uri).suffix.lower())
            if kind is None:
                continue
            if stored.size_bytes > SHARD_BYTES_MAX:
                raise DataRejected(
                    f"{stored.uri} has {stored.size_bytes:,} bytes; the limit of a file in S3 is {SHARD_BYTES_MAX:,}. "
                    "Split it, or name a local copy: that has no limit."
                )
            files.append(InputFile(uri=stored.uri, kind=kind, content=f"{stored.etag}-{stored.size_bytes}"))
        if files:
            return tuple(files)
        pictures = [stored.uri for stored in found if stored.uri.lower().endswith(_PICTURES)]
        if not pictures:
            return ()
        if [each.type for each in schema.inputs] != ["image"]:
            raise DataRejected(f"{prefix} holds pictures, and the task's inputs are not a single image.")
        return (InputFile(uri=prefix, kind="pictures", content=digest_of(pictures)),)

    def _list_pictures(self, prefix: str) -> Iterator[Any]:
        return (each for each in self._objects.list_objects(prefix) if each.uri.lower().endswith(_PICTURES))


def _list_paths(path: Path) -> tuple[InputFile, ...]:
    if not path.exists():
        raise NotFound(f"{path} does not exist. Name a file, a folder, s3://BUCKET/PREFIX or a dataset version.")
    paths = sorted(path.rglob("*")) if path.is_dir() else [path]
    kinds = [(each, _KINDS.get(each.suffix.lower())) for each in paths if each.is_file()]
    if not path.is_dir() and kinds and kinds[0][1] is None:
        raise DataRejected(f"{path}: the name must end in .jsonl or .parquet. Rename the file.")
    stats = [(each, kind, each.stat()) for each, kind in kinds if kind is not None]
    return tuple(
        InputFile(uri=str(each), kind=kind, content=f"{stat.st_size}-{stat.st_mtime_ns}") for each, kind, stat in stats
    )


def _line_parts(
    file: BinaryIO, schema: ExampleSchema, *, size: int, skip: Callable[[int], bool]
) -> Iterator[tuple[int, int, BatchRows | None]]:
    lines, part = _lines_of(file), 0
    while some := list(islice(lines, size)):
        yield part, len(some), None if skip(part) else _rows_of_lines(some, schema)
        part += 1


def _lines_of(file: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """Those that are not blank, with their numbers. Of one that is too long as much as shows that."""
    number, limit = 0, LINE_BYTES_MAX + 1
    while line := file.readline(limit):
        number += 1
        rest = line
        while len(rest) == limit and not rest.endswith(b"\n"):
            rest = file.readline(limit)
        if line.strip() not in (b"", BYTE_ORDER_MARK):
            yield number, line


def _rows_of_lines(lines: Sequence[tuple[int, bytes]], schema: ExampleSchema) -> BatchRows:
    parsed = [_row_of_line(line, schema) for _, line in lines]
    return BatchRows([number for number, _ in lines], [each[0] for each in parsed], [each[1] for each in parsed], None)


def _row_of_line(line: bytes, schema: ExampleSchema) -> tuple[Any, Any]:
    """(id, inputs by name or what is wrong)."""
    try:
        value = parse_json(line)
    except NotJson as error:
        return None, str(error)
    if not isinstance(value, dict):
        return None, f"expected a JSON object, found {found_text(value)}"
    short = schema.short_input
    if short is not None and "inputs" not in value and "features" in value:
        return value.get("id"), {short.name: value["features"]}
    inputs = value.get("inputs")
    if not isinstance(inputs, dict):
        return value.get("id"), f"`inputs` must be an object {{name: value}}, found {found_text(inputs)}"
    return value.get("id"), inputs


def _read_parquet(file: BinaryIO, schema: ExampleSchema, *, where: str) -> Iterator[BatchRows]:
    try:
        opened = pq.ParquetFile(file)
        start = 1
        for batch in opened.iter_batches(_READ_ROWS):
            rows = pa.Table.from_batches([batch])
            ids = rows["id"] if "id" in rows.column_names else [None] * rows.num_rows
            yield BatchRows(range(start, start + rows.num_rows), ids, None, _inputs_in(rows, schema, where=where))
            start += rows.num_rows
    except (pa.ArrowException, OSError) as error:
        raise DataRejected(f"{where}: not a Parquet file that can be read ({error}).") from None


def _inputs_in(rows: pa.Table, schema: ExampleSchema, *, where: str) -> pa.Table:
    """A column `inputs` or `features` as in label files, or a column for each input."""
    names = [each.name for each in schema.inputs]
    if "inputs" in rows.column_names or (schema.short_input and "features" in rows.column_names):
        return inputs_table(rows, schema)
    if not set(names) & set(rows.column_names):
        raise DataRejected(f"{where}: no column is an input of the task; its inputs are {', '.join(names[:20])}.")
    return rows.select([name for name in names if name in rows.column_names])


def _cut(
    read: Iterator[BatchRows], *, size: int, skip: Callable[[int], bool]
) -> Iterator[tuple[int, int, BatchRows | None]]:
    """Parts of exactly `size` rows but for the last, however many rows are read at once."""
    waiting: list[BatchRows] = []
    part = num_waiting = 0
    for rows in read:
        start = 0
        while num_waiting + len(rows) - start >= size:
            stop = start + size - num_waiting
            whole = _joined([*waiting, rows.part(start, stop)])
            yield part, size, None if skip(part) else whole
            waiting, num_waiting, start, part = [], 0, stop, part + 1
        if start < len(rows):
            waiting.append(rows.part(start, len(rows)))
            num_waiting += len(rows) - start
    if num_waiting:
        yield part, num_waiting, None if skip(part) else _joined(waiting)


def _joined(some: Sequence[BatchRows]) -> BatchRows:
    numbers = [number for rows in some for number in rows.numbers]
    ids = [_plain(each) for rows in some for each in rows.ids]
    if some[0].table is None:
        return BatchRows(numbers, ids, [each for rows in some for each in rows.inputs or ()], None)
    return BatchRows(numbers, ids, None, pa.concat_tables([rows.table for rows in some if rows.table is not None]))


def _plain(value: Any) -> Any:
    return value.as_py() if isinstance(value, pa.Scalar) else value


def as_json(value: Any) -> Any:
    """A value of a Parquet column as JSON would have it."""
    return value.isoformat() if isinstance(value, datetime) else value
