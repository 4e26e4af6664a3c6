"""How the payload log knows the examples that are erased: digests of their inputs, taken before these are gone."""

from collections.abc import Iterable, Mapping
from typing import Any

import pyarrow as pa

from ratchet.actions.labels.images import ImageSource, read_images
from ratchet.core.errors import DataRejected, NotFound
from ratchet.core.labels.erasure import Removed
from ratchet.core.labels.input_values import WrongValue, input_values
from ratchet.core.labels.parsing import Row
from ratchet.core.labels.schema import ExampleSchema, inputs_table
from ratchet.core.labels.tables import as_rows
from ratchet.core.rollout.erased_lines import digests_as_logged

_WHERE = "erased rows"


def with_digests(removed: Removed, schema: ExampleSchema, images: ImageSource) -> Removed:
    """With `digests` in the place of the rows. A row whose inputs do not fit the task was never asked about."""
    of_rows = frozenset() if removed.rows is None or removed.lines else _of_version_rows(removed.rows, schema)
    of_lines = (_of_line(line, schema, images) for line in removed.lines)
    return removed._replace(digests=of_rows.union(*of_lines), lines=(), rows=None)


def _of_version_rows(rows: pa.Table, schema: ExampleSchema) -> frozenset[int]:
    if not {"inputs", "features"} & set(rows.column_names):
        return frozenset()  # an overlay, or an index
    try:
        return digests_as_logged(inputs_table(as_rows(rows, schema, where=_WHERE), schema), schema)
    except (DataRejected, ValueError):
        return frozenset()


def _of_line(line: Mapping[str, Any], schema: ExampleSchema, images: ImageSource) -> frozenset[int]:
    """Whatever else is wrong with the line: its label may be of a class that is gone."""
    short = schema.short_input
    given = line.get("inputs")
    if short is not None and not isinstance(given, Mapping):
        given = {short.name: line.get("features")}
    if not isinstance(given, Mapping):
        return frozenset()
    known = {each.name: given.get(each.name) for each in schema.inputs}
    try:
        opinions: Iterable[tuple[str, Row]] = [(_WHERE, {"inputs": input_values(known, _lenient(schema))})]
        (inputs,) = [inputs for _, _, inputs in read_images(opinions, schema, images)]
        table = pa.Table.from_pylist([inputs], schema=pa.schema(list(schema.inputs_type)))
    except (WrongValue, DataRejected, NotFound, pa.ArrowException):
        return frozenset()
    return digests_as_logged(table, schema)


def _lenient(schema: ExampleSchema) -> ExampleSchema:
    """Where an input that is required by now may be missing, and a value may be beyond its limits."""
    free = schema.without_limits
    return ExampleSchema(
        inputs=tuple(each.model_copy(update={"optional": True}) for each in free.inputs), output=free.output
    )
