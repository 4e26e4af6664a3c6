"""Rows of flat fields, as tables and plain JSON lines have them: columns by `--map`, then by name. Pure."""

from collections.abc import Mapping
from typing import Any

from ratchet.core.labels.formats.fields import (
    EXAMPLE_ID,
    cell_labels,
    column_of,
    corrects_of,
    inputs_of,
    label_of,
    labeler_of,
    line_of,
    moment_of,
    named,
)
from ratchet.core.labels.formats.items import ImportOptions, LeftOut, ToolOpinion, WrongItem, left, wrong
from ratchet.core.labels.queue_marks import QUEUE_MARK


def opinion_of_row(fields: Mapping[str, Any], place: str, options: ImportOptions) -> ToolOpinion | LeftOut:
    """The opinion in a row; other columns than those of the label line are ignored."""
    try:
        output = options.schema.output
        cells = cell_labels(_label_cell(fields, options), output)
        label = label_of(cells or [], output) if cells is not None else None
        if cells is not None and not cells and output.type == "tags":
            label = []
        if label is None:
            return left(place, "unlabelled")
        example_id = named(fields, "id", options, EXAMPLE_ID)
        if example_id is None:
            raise WrongItem("it has no id; `--map COLUMN=id` names the column with the example's id")
        return line_of(
            inputs_of(_with_short(fields, options), options),
            options,
            place=place,
            id=example_id,
            label=label,
            labeler=labeler_of(named(fields, "labeler", options, "annotator", "user"), options),
            at=moment_of(named(fields, "labeled_at", options, "updated_at", "created_at"), options),
            corrects=corrects_of(fields, options),
            mark=fields.get(QUEUE_MARK),
        )
    except WrongItem as error:
        return wrong(place, error)


def check_label_column(names: Mapping[str, Any] | list[str], options: ImportOptions) -> None:
    """WrongItem when no column can hold the label."""
    column = column_of("label", options)
    wanted = (column,) if column is not None else ("label", options.schema.output.name)
    if not set(wanted) & set(names):
        hint = "" if column is not None else "; `--map COLUMN=label` names it"
        raise WrongItem(f"no column `{wanted[-1]}` for the label among {', '.join(map(str, list(names)[:20]))}{hint}")


def _label_cell(fields: Mapping[str, Any], options: ImportOptions) -> Any:
    column = column_of("label", options)
    if column is not None:
        return fields.get(column)
    return fields["label"] if "label" in fields else fields.get(options.schema.output.name)


def _with_short(fields: Mapping[str, Any], options: ImportOptions) -> Mapping[str, Any]:
    """`features` is the name of the only vector, whatever the task calls it."""
    short = options.schema.short_input
    if short is None or short.name in fields or "features" not in fields:
        return fields
    return {**fields, short.name: fields["features"]}
