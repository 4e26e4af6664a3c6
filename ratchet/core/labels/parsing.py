"""From the lines and rows of a label shard to labels that the task can learn from. Pure."""

from collections.abc import Iterable, Mapping
from typing import Any

from ratchet.core.errors import DataRejected
from ratchet.core.fields import parse_fields, refuse_unknown
from ratchet.core.labels.shards import Label, LabelSchema
from ratchet.core.lines import read_objects
from wire.printable import listed
from wire.validation_text import found_text

NEXT_STEP = "Correct it and push the file again: a shard that has landed never changes."


def parse_label(value: Mapping[str, Any], *, where: str, num_features: int | None = None) -> Label:
    """One label from its fields; `where` (file and line) goes into the error."""
    expected = _expected(num_features)
    refuse_unknown(value, expected, where=where, next_step=NEXT_STEP)
    return parse_fields(Label, value, expected=expected, where=where, next_step=NEXT_STEP)


def check_label(label: Label, schema: LabelSchema, *, where: str) -> Label:
    """The label, when the task can learn from it: a known class, the right number of features, each in range."""
    if label.label not in schema.classes:
        found = found_text(label.label)
        raise DataRejected(f"{where}: `label` must be one of {listed(schema.classes)}, found {found}. {NEXT_STEP}")
    num = schema.num_features
    if label.features is None or len(label.features) != num:
        found = "none" if label.features is None else f"{len(label.features)}"
        raise DataRejected(f"{where}: `features` must be a list of {num} numbers, found {found}. {NEXT_STEP}")
    for number, value in enumerate(label.features):
        if not schema.min_value <= value <= schema.max_value:
            raise DataRejected(
                f"{where}: `features[{number}]` is {value:g}, expected {schema.min_value:g} to {schema.max_value:g}. "
                f"{NEXT_STEP}"
            )
    return label


def parse_labels(
    lines: Iterable[bytes], *, schema: LabelSchema, where: str, defaults: Mapping[str, Any] | None = None
) -> tuple[Label, ...]:
    """Every label of a JSONL shard; one wrong line, or no line, is DataRejected.

    defaults: stand in for fields that a line lacks.
    """
    labels = []
    for place, value in read_objects(lines, where=where, next_step=NEXT_STEP):
        label = parse_label({**(defaults or {}), **value}, where=place, num_features=schema.num_features)
        labels.append(check_label(label, schema, where=place))
    return _checked_not_empty(labels, where=where)


def parse_label_rows(rows: Iterable[Mapping[str, Any]], *, schema: LabelSchema, where: str) -> tuple[Label, ...]:
    """Every label of a shard that came as rows of fields (Parquet)."""
    labels = []
    for number, row in enumerate(rows, 1):
        place = f"{where}, row {number}"
        label = parse_label(row, where=place, num_features=schema.num_features)
        labels.append(check_label(label, schema, where=place))
    return _checked_not_empty(labels, where=where)


def _checked_not_empty(labels: list[Label], *, where: str) -> tuple[Label, ...]:
    if not labels:
        raise DataRejected(f"{where}: no labels in it. Push a file with at least one line.")
    return tuple(labels)


def _expected(num_features: int | None) -> Mapping[str, str]:
    many = "" if num_features is None else f"{num_features} "
    return {
        "id": "a text of 1 to 256 characters",
        "features": f"a list of {many}numbers",
        "features[]": "a finite number",
        "label": "a text: the name of a class, in quotes",
        "labeler": "a text of 1 to 256 characters",
        "labeled_at": "a time with its zone from 1900 to 2200, such as 2026-01-31T09:00:00Z",
        "uri": "a text",
    }
