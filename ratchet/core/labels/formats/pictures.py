"""A picture with tags and shapes, as both exports of CVAT have it, as a label of the whole picture. Pure."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from ratchet.core.labels.formats.fields import (
    column_of,
    corrects_of,
    inputs_of,
    is_yes,
    label_of,
    labeler_of,
    line_of,
    moment_of,
)
from ratchet.core.labels.formats.items import (
    GROUND_TRUTH,
    ImportOptions,
    LeftOut,
    ToolOpinion,
    WrongItem,
    left,
    wrong,
)
from ratchet.core.labels.queue_marks import QUEUE_MARK

MADE_BY_A_MODEL = "auto"
"""The `source` of a tag or a shape."""
TAG = "tag"


@dataclass
class PictureMark:
    """A tag or a shape."""

    kind: str
    """`TAG`, or the kind of shape."""
    label: str
    is_predicted: bool
    attributes: dict[str, Any] = field(default_factory=dict)


@dataclass
class ToolPicture:
    fields: dict[str, Any]
    """`name` is its file."""
    marks: list[PictureMark] = field(default_factory=list)


def opinions_of(
    picture: ToolPicture, place: str, options: ImportOptions, *, who: Any = None, at: Any = None
) -> Iterator[ToolOpinion | LeftOut]:
    """Its tags, or else the labels of its shapes, are the label. An attribute `skipped` or `ground_truth` that is true
    says what the tool has no field for. who, at: the annotator and the time, where the file tells them."""
    made = [mark for mark in picture.marks if not mark.is_predicted]
    if len(made) < len(picture.marks):
        yield left(place, "prediction")
    fields = {**{name: value for mark in made for name, value in mark.attributes.items()}, **picture.fields}
    if is_yes(fields.get("skipped")):
        yield left(place, "cancelled")
        return
    try:
        label = label_of(_labels(made, options), options.schema.output) if made else None
        if label is None:
            yield left(place, "unlabelled")
            return
        is_truth = is_yes(fields.get("ground_truth"))
        mapped = column_of("id", options)
        yield line_of(
            inputs_of(fields, options, main="name"),
            options,
            place=place,
            id=fields.get(mapped) if mapped else fields.get("name"),
            label=label,
            labeler=GROUND_TRUTH if is_truth else labeler_of(who, options),
            at=moment_of(at, options),
            corrects=is_truth or corrects_of(fields, options),
            mark=fields.get(QUEUE_MARK),
        )
    except WrongItem as error:
        yield wrong(place, error)


def _labels(marks: list[PictureMark], options: ImportOptions) -> list[Any]:
    """Of an attribute, when `--map` names one or one is called as the task's output; else tags come before shapes."""
    wanted = column_of("label", options) or _own_attribute(marks, options)
    if wanted is not None:
        return [mark.attributes[wanted] for mark in marks if wanted in mark.attributes]
    tags = [mark.label for mark in marks if mark.kind == TAG]
    return tags or [mark.label for mark in marks]


def _own_attribute(marks: list[PictureMark], options: ImportOptions) -> str | None:
    name = options.schema.output.name
    return name if any(name in mark.attributes for mark in marks) else None
