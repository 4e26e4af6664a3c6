"""The one reader of label shards: from a whole file to a table of `ExampleSchema.opinions_schema`, by column. Pure.

A file that is in any way irregular is None here, and `parsing.py` says which line of it is wrong: what is taken in
here, that one would take in too, with the same values (tests/unit/core/labels/test_opinions.py compares them).
"""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json as pj

from ratchet.core.labels.label_values import tags_in_order, whole_column
from ratchet.core.labels.queue_marks import MARK_CHARS_MAX, MARK_PATTERN, QUEUE_MARK
from ratchet.core.labels.schema import (
    CATEGORY_CHARS_MAX,
    BooleanInput,
    CategoryInput,
    DatetimeInput,
    ExampleSchema,
    ImageInput,
    InputSpec,
    NumberInput,
    NumberOutput,
    TagsOutput,
    TextInput,
    VectorInput,
)
from ratchet.core.labels.shards import YEARS

NAME_CHARS_MAX = 256
"""Of an id and of a labeler."""
_BLOCK_BYTES = 4 << 20
"""pyarrow parses blocks in parallel, and takes no line that is longer: those go line by line."""
_MOMENT = r"^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d{1,6})?(Z|[+-](0\d|1[0-4]):[0-5]\d)$"
"""The one form that pyarrow and pydantic read alike. `\\d` is ASCII in RE2."""


def read_lines_as_table(data: bytes, schema: ExampleSchema) -> pa.Table | None:
    """Every opinion of a JSONL file; None when it is irregular, or has pictures, which need more than this."""
    if any(schema.of_type("image")) or not _is_object_a_line(data):
        return None
    read = pj.ReadOptions(block_size=_BLOCK_BYTES)
    parse = pj.ParseOptions(explicit_schema=_json_schema(schema), unexpected_field_behavior="error")
    try:
        table = pj.read_json(pa.BufferReader(data), read_options=read, parse_options=parse)
        # pyarrow takes any bytes as text, and half of a surrogate pair.
        table.validate(full=True)
        if table.num_rows != data.count(b"\n") - data.endswith(b"\n") + 1:
            return None
        return checked_table(table, schema)
    except (pa.ArrowException, ValueError):
        return None


def checked_table(table: pa.Table, schema: ExampleSchema) -> pa.Table | None:
    """As opinions of the schema, when every value of every column is as it must be. table: its columns, `features` or
    `inputs`; times as text or with a zone. pa.ArrowException for other types."""
    inputs = _inputs_of(table, schema)
    if inputs is None or not {"id", "label", "labeler", "labeled_at"} <= set(table.column_names):
        return None
    label, at = _checked_label(whole_column(table["label"]), schema), _checked_times(whole_column(table["labeled_at"]))
    names = [_texts_of(whole_column(table[name])) for name in ("id", "labeler")]
    corrects = _checked_corrects(table)
    if label is None or at is None or corrects is None or not all(_is_sized(name, 1, NAME_CHARS_MAX) for name in names):
        return None
    if any(column.null_count for column in (label, at, *names)):
        return None
    mark = _checked_marks(table)
    if mark is None:
        return None
    return pa.table([names[0], inputs, label, names[1], at, corrects, mark], schema=schema.opinions_schema)


def _checked_corrects(table: pa.Table) -> pa.Array | None:
    """An opinion that does not say so corrects none."""
    if "corrects" not in table.column_names:
        return pa.array(np.zeros(table.num_rows, dtype=bool))
    column = whole_column(table["corrects"])
    if not pa.types.is_boolean(column.type):
        column = _only_nulls(column, pa.bool_())
    return None if column is None else column.fill_null(False)


def _is_object_a_line(data: bytes) -> bool:
    """Whether each line begins with `{` and ends with `}`, so that no object spans two lines. (Two of them on one line
    are counted afterwards: there are more rows than lines.)"""
    end = len(data) - data.endswith(b"\n")  # no copy of 256 MiB for the sake of its last byte
    num_joints = data.count(b"\n", 0, end)
    end -= data.endswith(b"\r", 0, end)
    if not data.startswith(b"{") or not data.endswith(b"}", 0, end):
        return False
    num_plain = data.count(b"}\n{")
    return num_plain == num_joints or num_plain + data.count(b"}\r\n{") == num_joints


def _json_schema(schema: ExampleSchema) -> pa.Schema:
    """Times are text here, so that only one form of them is taken."""

    def kind(field: pa.Field) -> pa.DataType:
        return pa.string() if pa.types.is_timestamp(field.type) else field.type

    inputs = pa.struct([pa.field(field.name, kind(field)) for field in schema.inputs_type])
    short = schema.short_input
    extra = [] if short is None else [pa.field("features", pa.list_(pa.float64())), pa.field("uri", pa.string())]
    others = [pa.field(field.name, kind(field)) for field in schema.opinions_schema if field.name != "inputs"]
    return pa.schema([*others, pa.field("inputs", inputs), *extra])


def _inputs_of(table: pa.Table, schema: ExampleSchema) -> pa.StructArray | None:
    """The column `inputs`, checked; made of `features` where all rows have these."""
    short = schema.short_input
    names = table.column_names
    is_short = short is not None and "features" in names and table["features"].null_count == 0
    if short is not None and is_short:
        if "inputs" in names and table["inputs"].null_count < table.num_rows:
            return None
        columns = {short.name: whole_column(table["features"])}
    else:
        if "features" in names and table["features"].null_count < table.num_rows:
            return None
        if "inputs" not in names or table["inputs"].null_count:
            return None
        given = whole_column(table["inputs"])
        columns = {field.name: given.field(place) for place, field in enumerate(given.type)}
    if columns.keys() - {each.name for each in schema.inputs}:
        return None
    checked = [
        checked_input(columns.get(each.name, pa.nulls(table.num_rows, schema.inputs_type.field(each.name).type)), each)
        for each in schema.inputs
    ]
    if any(column is None for column in checked):
        return None
    return pa.StructArray.from_arrays(checked, fields=list(schema.inputs_type))


def checked_input(column: pa.Array, declared: InputSpec) -> pa.Array | None:
    """The values of an input as they are stored, when all of them are as declared."""
    if column.null_count and not declared.optional:
        return None
    match declared:
        case NumberInput():
            return _checked_numbers(column, declared.range)
        case CategoryInput():
            texts = _texts_of(column)
            if texts is None:
                return None
            is_known = not declared.values or _all(pc.is_in(texts, pa.array([*declared.values, None], pa.string())))
            return texts if is_known and _is_sized(texts, 1, CATEGORY_CHARS_MAX) else None
        case BooleanInput():
            return column if pa.types.is_boolean(column.type) else _only_nulls(column, pa.bool_())
        case DatetimeInput():
            return _checked_times(column)
        case TextInput():
            texts = _texts_of(column)
            return texts if texts is not None and _is_sized(texts, 0, declared.chars_max) else None
        case ImageInput():
            return column if column.type == pa.binary(declared.num_bytes) else None
        case VectorInput():
            return _checked_vectors(column, declared)


def _checked_numbers(column: pa.Array, limits: tuple[float, float]) -> pa.Array | None:
    kind = column.type
    if not (pa.types.is_floating(kind) or pa.types.is_integer(kind) or pa.types.is_null(kind)):
        return None
    # An integer beyond 2^53 is rounded, as Python's float() does it.
    numbers = column.cast(pa.float64(), safe=False)
    low, high = limits
    is_fine = pc.and_(pc.is_finite(numbers), pc.and_(pc.greater_equal(numbers, low), pc.less_equal(numbers, high)))
    return numbers if _all(is_fine) else None


def _checked_vectors(column: pa.Array, declared: VectorInput) -> pa.Array | None:
    kind = column.type
    if pa.types.is_null(kind):
        return column.cast(pa.list_(pa.float64()))
    if pa.types.is_fixed_size_list(kind) or pa.types.is_large_list(kind):
        column = column.cast(pa.list_(kind.value_type))
    elif not pa.types.is_list(kind):
        return None
    if not _all(pc.equal(pc.list_value_length(column), declared.size)):
        return None
    numbers = column.flatten()
    if numbers.null_count or _checked_numbers(numbers, declared.range) is None:
        return None
    return column.cast(pa.list_(pa.float64()), safe=False)


def _checked_label(column: pa.Array, schema: ExampleSchema) -> pa.Array | None:
    output = schema.output
    if column.null_count:
        return None
    if isinstance(output, NumberOutput):
        return _checked_numbers(column, output.range)
    classes = pa.array(output.classes, pa.string())
    if isinstance(output, TagsOutput):
        if not pa.types.is_list(column.type):
            return None
        tags = column.cast(pa.list_(pa.string()))
        return tags_in_order(tags, output) if _all(pc.is_in(pc.list_flatten(tags), classes)) else None
    texts = _texts_of(column)
    return texts if texts is not None and _all(pc.is_in(texts, classes)) else None


def _checked_times(column: pa.Array) -> pa.Array | None:
    kind = column.type
    if pa.types.is_timestamp(kind):
        if kind.tz is None:
            return None
        times = column.cast(pa.timestamp("us", tz="UTC"))
    elif pa.types.is_string(kind) and _all(pc.match_substring_regex(column, _MOMENT)):
        times = column.cast(pa.timestamp("us", tz="UTC"))
    else:
        return _only_nulls(column, pa.timestamp("us", tz="UTC"))
    years = pc.year(times)
    is_fine = pc.and_(pc.greater_equal(years, YEARS[0]), pc.less_equal(years, YEARS[-1]))
    return times if _all(is_fine) else None


def _checked_marks(table: pa.Table) -> pa.Array | None:
    """Of examples from a queue; null of all others."""
    if QUEUE_MARK not in table.column_names:
        return pa.nulls(table.num_rows, pa.string())
    marks = _texts_of(whole_column(table[QUEUE_MARK]))
    if marks is None or not _is_sized(marks, 0, MARK_CHARS_MAX):
        return None
    return marks if _all(pc.match_substring_regex(marks, MARK_PATTERN)) else None


def _only_nulls(column: pa.Array, kind: pa.DataType) -> pa.Array | None:
    return pa.nulls(len(column), kind) if column.null_count == len(column) else None


def _texts_of(column: pa.Array) -> pa.Array | None:
    """As text, when it is text: a number is none, though pyarrow would write it as one."""
    kind = column.type
    if pa.types.is_string(kind):
        return column
    return column.cast(pa.string()) if pa.types.is_large_string(kind) or pa.types.is_null(kind) else None


def _is_sized(texts: pa.Array | None, least: int, most: int) -> bool:
    if texts is None:
        return False
    lengths = pc.utf8_length(texts)
    return _all(pc.and_(pc.greater_equal(lengths, least), pc.less_equal(lengths, most)))


def _all(is_fine: pa.Array) -> bool:
    """Nulls are no fault here: what may be missing was asked before."""
    return bool(pc.all(is_fine, min_count=0).as_py() is not False)
