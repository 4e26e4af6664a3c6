"""Labels of any type as columns: their text in an index, their codes for counting, tags in one order. Pure.

Shape suffix: N rows.
"""

import json

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ratchet.core.labels.schema import NumberOutput, OutputSpec, TagsOutput

_BETWEEN_TAGS = "\x1f"


def whole_column(column: pa.Array | pa.ChunkedArray) -> pa.Array:
    """In one piece."""
    if isinstance(column, pa.Array):
        return column
    return pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)


def index_texts(labels: pa.Array | pa.ChunkedArray, output: OutputSpec) -> pa.Array:
    """What the index of a version keeps of labels: a class as it is, a number in its shortest form, tags as JSON."""
    column = whole_column(labels)
    if isinstance(output, NumberOutput):
        return pa.array([None if value is None else repr(value) for value in column.to_pylist()], pa.string())
    if not isinstance(output, TagsOutput):
        return column
    names = pa.array(output.classes, pa.string())
    quoted = pa.array([json.dumps(name) for name in output.classes], pa.string())
    flat = quoted.take(pc.index_in(pc.list_flatten(column), value_set=names))
    joined = pc.binary_join(pa.ListArray.from_arrays(_offsets_of(column), flat), ",")
    return pc.binary_join_element_wise("[", joined, "]", "")


def labels_of_texts(texts: pa.Array, output: OutputSpec) -> pa.Array:
    """The labels that `index_texts` gave these texts of; null for null, and for what is no such label any more."""
    if isinstance(output, NumberOutput | TagsOutput):
        coded = texts.dictionary_encode()
        kind = pa.float64() if isinstance(output, NumberOutput) else pa.list_(pa.string())
        parsed = pa.array([_parsed(text, output) for text in coded.dictionary.to_pylist()], kind)
        return parsed.take(coded.indices)
    return texts


def tags_in_order(tags: pa.ListArray, output: TagsOutput) -> pa.ListArray:
    """Each list with each tag once, in the order of the task's classes. All of them are classes of it, none is null."""
    places = pc.index_in(pc.list_flatten(tags), value_set=pa.array(output.classes, pa.string())).to_numpy(
        zero_copy_only=False
    )
    rows = pc.list_parent_indices(tags).to_numpy().astype(np.int64)
    keys = np.unique(rows * len(output.classes) + places)
    offsets = np.searchsorted(keys, np.arange(len(tags) + 1) * len(output.classes)).astype(np.int32)
    names = pa.array(output.classes, pa.string()).take(pa.array(keys % len(output.classes)))
    return pa.ListArray.from_arrays(pa.array(offsets), names)


def codes_of(column: pa.Array | pa.ChunkedArray) -> np.ndarray:
    """(N,) int64: equal for equal values, in the order of the values; -1 for null. Lists of text, text or numbers."""
    values = whole_column(column)
    if pa.types.is_list(values.type):
        values = pc.binary_join(values, _BETWEEN_TAGS)
    coded = values.dictionary_encode()
    ranks = np.empty(len(coded.dictionary), dtype=np.int64)
    ranks[pc.sort_indices(coded.dictionary).to_numpy()] = np.arange(len(coded.dictionary))
    found = coded.indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)
    return np.where(found >= 0, ranks[found] if len(ranks) else found, -1)


def counts_by_class(labels: pa.Array | pa.ChunkedArray, output: OutputSpec) -> dict[str, int]:
    """How often each class is in these labels; nothing of numbers."""
    if isinstance(output, NumberOutput):
        return {}
    column = whole_column(labels)
    flat = pc.list_flatten(column) if pa.types.is_list(column.type) else column
    counted = pc.value_counts(flat.drop_null())
    names, numbers = counted.field(0).to_pylist(), counted.field(1).to_pylist()
    return dict(sorted(zip(names, numbers, strict=True)))


def _offsets_of(tags: pa.ListArray) -> pa.Array:
    lengths = pc.list_value_length(tags).fill_null(0).to_numpy(zero_copy_only=False)
    return pa.array(np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32))


def _parsed(text: str | None, output: OutputSpec) -> float | list[str] | None:
    if text is None:
        return None
    try:
        value = json.loads(text)
    except ValueError:
        return None
    if isinstance(output, TagsOutput):
        return value if isinstance(value, list) and all(tag in output.classes for tag in value) else None
    return float(value) if isinstance(value, int | float) else None
