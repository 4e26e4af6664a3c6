"""Parquet label shards of other tools, read within declared limits: a small file may expand to any size."""

import io
from collections.abc import Iterator, Mapping
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ratchet.adapters.parquet_footer import Footer, contradiction_in, read_footer
from ratchet.core.errors import DataRejected
from ratchet.core.labels.images import FILE_BYTES_MAX
from ratchet.core.labels.input_values import listed_names
from ratchet.core.labels.opinions import checked_table
from ratchet.core.labels.queue_marks import QUEUE_MARK
from ratchet.core.labels.schema import CATEGORY_CHARS_MAX, ExampleSchema, ImageInput, TagsOutput, TextInput, VectorInput
from ratchet.core.labels.shards import SHARD_BYTES_MAX
from wire.printable import printable

ROWS_MAX = 1_000_000
VALUES_MAX = SHARD_BYTES_MAX // 8
"""Numbers in all rows together: as float64 they are as large as the largest shard."""
TEXT_BYTES_MAX = 4_096
"""Of one short text in UTF-8: 256 characters, and what escapes them. An URI has no more than that either."""
EXPANDED_BYTES_MAX = 2 * SHARD_BYTES_MAX
"""Of all texts and pictures together, those that repeat counted each time."""
_BATCH_ROWS = 4_096
_NEXT_STEP = "Write the file again and push it under a new key: a shard that has landed never changes."


def read_parquet_table(data: bytes, schema: ExampleSchema, *, where: str) -> pa.Table | None:
    """Every opinion of the file by column; None when a value is not as it must be (`iter_parquet_rows` finds it), or
    pictures have to be read. DataRejected when it is no Parquet file of labels or goes beyond the limits."""
    if any(schema.of_type("image")):
        return None
    batches = list(_checked_batches(data, schema, where=where))
    try:
        table = pa.Table.from_batches([_decoded(batch) for batch in batches]) if batches else None
        if table is None or not table.num_rows:
            return None
        table.validate(full=True)
        return checked_table(table, schema)
    except (pa.ArrowException, ValueError, NotImplementedError):
        return None


def iter_parquet_rows(data: bytes, schema: ExampleSchema, *, where: str) -> Iterator[Mapping[str, Any]]:
    """Row by row, without nulls; DataRejected when it is no Parquet file of labels or goes beyond the limits."""
    for batch in _checked_batches(data, schema, where=where):
        for row in _as_rows(batch, where=where):
            yield {name: value for name, value in row.items() if value is not None}


def read_parquet_fields(data: bytes) -> tuple[int, list[tuple[object, object]] | None]:
    """How many rows it says it has, and (label, labeler) of each; None where these cannot be read.

    DataRejected when it is no Parquet file or claims more than a shard may hold.
    """
    file = _opened(data, where="the shard")
    footer = _footer_of(data, where="the shard")
    _check_size(file, footer, where="the shard")
    num_rows = footer.num_rows
    if not {"label", "labeler"} <= set(file.schema_arrow.names):
        return num_rows, None
    pairs: list[tuple[object, object]] = []
    try:
        for batch in _batches(file, where="the shard", columns=["label", "labeler"]):
            _check_texts(batch, {}, where="the shard")
            pairs += zip(batch.column("label").to_pylist(), batch.column("labeler").to_pylist(), strict=True)
    except (DataRejected, UnicodeDecodeError, pa.ArrowException):
        return num_rows, None
    return num_rows, pairs


def check_parquet(data: bytes, *, where: str) -> None:
    """DataRejected when it is no Parquet file, or its footer goes beyond the limits."""
    _check_size(_opened(data, where=where), _footer_of(data, where=where), where=where)


def _checked_batches(data: bytes, schema: ExampleSchema, *, where: str) -> Iterator[pa.RecordBatch]:
    file = _opened(data, where=where)
    _check_columns(file, schema, where=where)
    _check_size(file, _footer_of(data, where=where), where=where)
    limits = _bytes_max(schema)
    num_numbers = num_bytes = 0
    for batch in _batches(file, where=where):
        num_numbers += _num_numbers(batch)
        if num_numbers > VALUES_MAX:
            raise DataRejected(f"{where}: more numbers than the limit of {VALUES_MAX:,}. Push it in parts.")
        num_bytes += _check_texts(batch, limits, where=where)
        if num_bytes > EXPANDED_BYTES_MAX:
            raise DataRejected(f"{where}: more bytes than the limit of {EXPANDED_BYTES_MAX:,}. Push it in parts.")
        yield batch


def _opened(data: bytes, *, where: str) -> pq.ParquetFile:
    try:
        file = pq.ParquetFile(io.BytesIO(data))
        leaves = [file.schema.column(place) for place in range(len(file.schema.names))]
        texts = [leaf.path for leaf in leaves if leaf.physical_type == "BYTE_ARRAY"]
        _ = file.schema_arrow  # a schema that says nonsense raises here
        # As dictionaries, a text that fills a million rows is in memory once.
        return pq.ParquetFile(io.BytesIO(data), read_dictionary=texts)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise DataRejected(f"{where}: not a Parquet file ({printable(str(error))}). {_NEXT_STEP}") from None


def _footer_of(data: bytes, *, where: str) -> Footer:
    try:
        return read_footer(data)
    except ValueError as error:
        raise DataRejected(f"{where}: not a Parquet file ({error}). {_NEXT_STEP}") from None


def _check_columns(file: pq.ParquetFile, schema: ExampleSchema, *, where: str) -> None:
    short = schema.short_input
    short_fields = ("uri", "features") if short else ()
    fields = ("id", "label", "labeler", *short_fields, "inputs", "labeled_at", "corrects", QUEUE_MARK)
    for name in file.schema_arrow.names:
        if name not in fields:
            raise DataRejected(
                f"{where}: column `{printable(name, chars_max=60)}` is not a field of a label; the fields are "
                f"{', '.join(fields)}. {_NEXT_STEP}"
            )
    for field in file.schema_arrow:
        if field.name == "inputs":
            _check_inputs(field.type, schema, where=where)
        elif field.name == "features" or (field.name == "label" and isinstance(schema.output, TagsOutput)):
            what = "numbers" if field.name == "features" else "texts"
            _check_list(field.type, field.name, what, where=where)
        else:
            _check_one_value(field.type, field.name, where=where)


def _check_inputs(kind: pa.DataType, schema: ExampleSchema, *, where: str) -> None:
    if not pa.types.is_struct(kind):
        raise DataRejected(
            f"{where}: column `inputs` must be a struct with a field for each input, found {kind!s:.60}. {_NEXT_STEP}"
        )
    declared = {each.name: each for each in schema.inputs}
    for field in kind:
        name = printable(f"inputs.{field.name}", chars_max=80)
        each = declared.get(field.name)
        if each is None:
            raise DataRejected(
                f"{where}: `{name}` is not an input of the task; its inputs are {listed_names(list(declared))}. "
                f"{_NEXT_STEP}"
            )
        if isinstance(each, VectorInput):
            _check_list(field.type, name, "numbers", where=where)
        elif not isinstance(each, ImageInput):
            _check_one_value(field.type, name, where=where)


def _check_list(kind: pa.DataType, name: str, what: str, *, where: str) -> None:
    is_list = pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    value = kind.value_type if is_list else None
    if pa.types.is_null(kind):
        return
    if what == "numbers":
        is_fine = is_list and (pa.types.is_integer(value) or pa.types.is_floating(value))
    else:
        is_fine = is_list and _is_text(value)
    if not is_fine:
        found = printable(str(kind), chars_max=60)
        raise DataRejected(f"{where}: column `{name}` must be a list of {what}, found {found}. {_NEXT_STEP}")


def _is_text(kind: pa.DataType) -> bool:
    value = kind.value_type if pa.types.is_dictionary(kind) else kind
    return bool(pa.types.is_string(value) or pa.types.is_large_string(value) or pa.types.is_null(value))


def _check_one_value(kind: pa.DataType, name: str, *, where: str) -> None:
    if pa.types.is_nested(kind):
        raise DataRejected(f"{where}: column `{name}` must be one value a row, found {kind!s:.60}. {_NEXT_STEP}")


def _check_size(file: pq.ParquetFile, footer: Footer, *, where: str) -> None:
    """By the footer, before anything is read. Encodings may pack further, so values are counted, not their bytes."""
    by_column = zip(*([chunk.num_values for chunk in group.chunks] for group in footer.groups), strict=False)
    sizes = {
        "rows": (footer.num_rows, ROWS_MAX),
        "values in one column": (max(map(sum, by_column), default=0), VALUES_MAX),
        "bytes uncompressed": (
            sum(chunk.size_bytes for group in footer.groups for chunk in group.chunks),
            2 * SHARD_BYTES_MAX,
        ),
    }
    for what, (found, limit) in sizes.items():
        if not 0 <= found <= limit:
            raise DataRejected(f"{where}: {found:,} {what}; the limit is {limit:,}. Push it in parts.")
    leaves = [file.schema.column(place) for place in range(len(file.schema.names))]
    if told := contradiction_in(footer, [(leaf.path, not leaf.max_repetition_level) for leaf in leaves]):
        raise DataRejected(f"{where}: {told}. {_NEXT_STEP}")


def _batches(file: pq.ParquetFile, *, where: str, columns: list[str] | None = None) -> Iterator[pa.RecordBatch]:
    num_rows = 0
    try:
        for batch in file.iter_batches(batch_size=_BATCH_ROWS, columns=columns, use_threads=False):
            num_rows += batch.num_rows
            if num_rows > ROWS_MAX:
                raise DataRejected(f"{where}: more rows than the limit of {ROWS_MAX:,}. Push it in parts.")
            yield batch
    except (pa.ArrowException, OSError) as error:
        raise DataRejected(f"{where}: the file is damaged ({printable(str(error))}). {_NEXT_STEP}") from None


def _leaves(batch: pa.RecordBatch) -> Iterator[tuple[str, pa.Array]]:
    """(name, values) of each column and of each field of `inputs`; lists in one piece."""
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        if pa.types.is_struct(column.type):
            for field in column.type:
                yield from _flat(f"{name}.{field.name}", pc.struct_field(column, field.name))
        else:
            yield from _flat(name, column)


def _flat(name: str, column: pa.Array) -> Iterator[tuple[str, pa.Array]]:
    kind = column.type
    if pa.types.is_struct(kind):
        for field in kind:
            yield from _flat(f"{name}.{field.name}", pc.struct_field(column, field.name))
    elif pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        yield name, column.flatten()
    else:
        yield name, column


def _num_numbers(batch: pa.RecordBatch) -> int:
    return sum(len(column) for name, column in _leaves(batch) if name == "features" or name.startswith("inputs."))


def _bytes_max(schema: ExampleSchema) -> Mapping[str, int]:
    """Of one text or picture, by the name of its column; `TEXT_BYTES_MAX` for others."""
    limits: dict[str, int] = {}
    for each in schema.inputs:
        if isinstance(each, TextInput):
            # A character has up to 4 bytes in UTF-8.
            limits[f"inputs.{each.name}"] = 4 * each.chars_max
        elif isinstance(each, ImageInput):
            limits[f"inputs.{each.name}"] = limits[f"inputs.{each.name}.b64"] = FILE_BYTES_MAX
        else:
            limits[f"inputs.{each.name}"] = 4 * CATEGORY_CHARS_MAX
    return limits


def _check_texts(batch: pa.RecordBatch, limits: Mapping[str, int], *, where: str) -> int:
    """How many bytes the texts are, each counted as often as it is there."""
    num_bytes = 0
    for name, column in _leaves(batch):
        is_coded = pa.types.is_dictionary(column.type)
        texts = column.dictionary if is_coded else column
        kind = texts.type
        if pa.types.is_null(kind):  # written by tools for a column without a value; it has no length
            continue
        if not (_is_text(kind) or pa.types.is_binary(kind) or pa.types.is_large_binary(kind)) or not len(texts):
            continue
        lengths = pc.binary_length(texts)
        longest, limit = pc.max(lengths).as_py() or 0, limits.get(name, TEXT_BYTES_MAX)
        if longest > limit:
            raise DataRejected(
                f"{where}: a text in `{name}` has {longest:,} bytes; the limit is {limit:,}. {_NEXT_STEP}"
            )
        num_bytes += pc.sum((lengths.take(column.indices) if is_coded else lengths).cast(pa.int64())).as_py() or 0
    return num_bytes


def _decoded(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Dictionaries as plain texts."""
    columns = [_plain(column) for column in batch.columns]
    return pa.RecordBatch.from_arrays(columns, names=batch.schema.names)


def _plain(column: pa.Array) -> pa.Array:
    kind = column.type
    if pa.types.is_dictionary(kind):
        return column.dictionary_decode()
    if pa.types.is_struct(kind):
        fields = [_plain(column.field(place)) for place in range(kind.num_fields)]
        mask = pc.is_null(column) if column.null_count else None
        return pa.StructArray.from_arrays(fields, names=[field.name for field in kind], mask=mask)
    if pa.types.is_list(kind) and pa.types.is_dictionary(kind.value_type):
        return column.cast(pa.list_(kind.value_type.value_type))
    return column


def _as_rows(batch: pa.RecordBatch, *, where: str) -> list[dict[str, Any]]:
    try:
        rows: list[dict[str, Any]] = batch.to_pylist()
    except (UnicodeDecodeError, ValueError, OverflowError) as error:
        raise DataRejected(f"{where}: a row cannot be read ({printable(str(error))}). {_NEXT_STEP}") from None
    return rows
