"""doccano: JSON lines of text and image classification, and the two forms that its version 1.0 wrote. Pure.

What an approver confirmed (`annotation_approver`) is a review: it puts other labels of the example right.

A file names no annotator where each has a file of their own (`anna.jsonl` in the archive): `--labeler` does.
"""

from collections.abc import Iterator, Mapping
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
from ratchet.core.labels.formats.items import (
    ImportOptions,
    LeftOut,
    ToolOpinion,
    WrongItem,
    left,
    read_objects_of,
    wrong,
)
from ratchet.core.labels.queue_marks import QUEUE_MARK

_LABELS = ("label", "labels", "cats", "annotations")
PREFIX = "doccano-"


def read_doccano(data: bytes, options: ImportOptions) -> Iterator[ToolOpinion | LeftOut]:
    for each in read_objects_of(data, what="example"):
        if isinstance(each, LeftOut):
            yield each
            continue
        place, item = each
        try:
            yield from _opinions(item, place, options)
        except WrongItem as error:
            yield wrong(place, error)


def _opinions(item: Mapping[str, Any], place: str, options: ImportOptions) -> Iterator[ToolOpinion | LeftOut]:
    meta = item.get("meta")
    fields = {**(meta if isinstance(meta, Mapping) else {}), **item}
    column = column_of("label", options)
    name = column or next((name for name in _LABELS if name in item), None)
    if name is None:
        raise WrongItem("it has none of the fields `label`, `labels` and `cats`")
    found = item.get(name)
    for who, values in _by_user(found) if name == "annotations" else [(fields.get("annotation_approver"), found)]:
        label = label_of(_checked(cell_labels(values, options.schema.output)), options.schema.output)
        if not label and label != 0:  # doccano writes `[]` where no tag was chosen, and where nobody has looked
            yield left(place, "unlabelled")
            continue
        yield line_of(
            inputs_of(fields, options, main="filename" if "filename" in fields else "text"),
            options,
            place=place,
            id=_example_id(fields, options),
            label=label,
            labeler=labeler_of(who, options, prefix=PREFIX),
            at=moment_of(named(fields, "labeled_at", options), options),
            corrects=bool(fields.get("annotation_approver")) or corrects_of(fields, options),
            mark=fields.get(QUEUE_MARK),
        )


def _checked(values: list[Any] | None) -> list[Any]:
    for value in values or []:
        if isinstance(value, list | Mapping):
            raise WrongItem("its labels are spans of the text; a label of the whole example is needed")
    return values or []


def _by_user(found: Any) -> list[tuple[Any, list[Any]]]:
    """Of version 1.0: `[{"label": "spam", "user": 1}]`."""
    by_user: dict[Any, list[Any]] = {}
    for each in found if isinstance(found, list) else []:
        if not isinstance(each, Mapping) or "start_offset" in each:
            raise WrongItem("its labels are spans of the text; a label of the whole example is needed")
        if not isinstance(each.get("label"), str):
            raise WrongItem("its labels are numbers of doccano; export it as JSONL with the labels' texts")
        user = each.get("user")
        by_user.setdefault(user if isinstance(user, str | int) else None, []).append(each["label"])
    return list(by_user.items()) or [(None, [])]


def _example_id(fields: Mapping[str, Any], options: ImportOptions) -> Any:
    own = named(fields, "id", options) if column_of("id", options) else fields.get(EXAMPLE_ID)
    if own not in (None, ""):
        return own
    number = fields.get("id")
    if isinstance(number, int):
        return f"{PREFIX}{number}"
    if number or fields.get("filename"):
        return number or fields["filename"]
    raise WrongItem("it has no id; `--map FIELD=id` names the field with the example's id")
