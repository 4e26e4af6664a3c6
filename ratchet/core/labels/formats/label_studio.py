"""Label Studio: its JSON export, JSON_MIN, and the single annotations that a target storage gets. Pure.

What counts is the label of the whole example (choices, rating, number, taxonomy, text area); regions do not.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

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
    text_of,
)
from ratchet.core.labels.formats.items import (
    GROUND_TRUTH,
    ImportOptions,
    LeftOut,
    ToolOpinion,
    Why,
    WrongItem,
    left,
    read_objects_of,
    wrong,
)
from ratchet.core.labels.queue_marks import QUEUE_MARK
from wire.printable import listed, printable
from wire.validation_text import found_text

CONTROLS = {"choices": "choices", "rating": "rating", "number": "number", "taxonomy": "taxonomy", "textarea": "text"}
"""Type of a result to the field of its value."""
PREFIX = "label-studio-"
_NOT_SUBMITTED: Mapping[str, Why] = {"predictions": "prediction", "drafts": "draft"}
_REVIEWED = frozenset({"accepted", "fixed_and_accepted"})
"""`last_action` of an annotation that a reviewer accepted, or set right and accepted."""
_MIN_FIELDS = frozenset({"annotation_id", "annotator"})


class ShownTask(NamedTuple):
    id: str
    """As `ratchet labels import` names the example later."""
    inputs: dict[str, Any]
    mark: str
    """Of the queue that the task came from; "" of any other task."""


def task_of(item: Mapping[str, Any], options: ImportOptions) -> ShownTask:
    """The example that a task shows. WrongItem: it has no id, or its picture has no place."""
    fields = item["data"]
    example_id = text_of(_example_id(item, fields, options))
    if not isinstance(example_id, str):
        raise WrongItem(f"its id is {found_text(example_id)}; a text is expected")
    mark = fields.get(QUEUE_MARK)
    inputs = inputs_of(fields, options, main=_main_field(fields, options))
    return ShownTask(example_id, inputs, mark if isinstance(mark, str) else "")


def read_label_studio(data: bytes, options: ImportOptions) -> Iterator[ToolOpinion | LeftOut]:
    """Each annotation is an opinion."""
    for each in read_objects_of(data, what="task"):
        if isinstance(each, LeftOut):
            yield each
            continue
        place, item = each
        if isinstance(item.get("task"), Mapping) and "result" in item:
            item = {**item["task"], "annotations": [item]}
        if isinstance(item.get("data"), Mapping):
            yield from _of_task(item, place, options)
        elif _MIN_FIELDS & item.keys():
            yield _of_flat(item, place, options)
        else:
            yield wrong(place, "no task of Label Studio: it has neither `data` nor `annotation_id`")


def _of_task(item: Mapping[str, Any], place: str, options: ImportOptions) -> Iterator[ToolOpinion | LeftOut]:
    annotations = item.get("annotations", item.get("completions"))
    found = annotations if isinstance(annotations, list) else []
    for name, why in _NOT_SUBMITTED.items():
        others = item.get(name)
        for number in range(len(others) if isinstance(others, list) else 0):
            yield left(f"{place}, {why} {number + 1}", why)
    if not found:
        yield left(place, "unlabelled")
    for number, annotation in enumerate(found, 1):
        where = f"{place}, annotation {number}"
        if not isinstance(annotation, Mapping):
            yield wrong(where, "a JSON object is expected")
        elif annotation.get("was_cancelled") or annotation.get("skipped"):
            yield left(where, "cancelled")
        else:
            yield _of_annotation(item, annotation, where, options)


def _of_annotation(
    item: Mapping[str, Any], annotation: Mapping[str, Any], place: str, options: ImportOptions
) -> ToolOpinion | LeftOut:
    try:
        label = label_of(_values(annotation.get("result"), options), options.schema.output)
        if label is None and annotation.get("result") == [] and options.schema.output.type == "tags":
            label = []  # it was submitted without a choice
        if label is None:
            return left(place, "unlabelled")
        is_truth = annotation.get("ground_truth") is True
        who, is_updated = _said_by(annotation)
        is_review = is_truth or is_updated or str(annotation.get("last_action")) in _REVIEWED
        fields = item["data"]
        return line_of(
            inputs_of(fields, options, main=_main_field(fields, options)),
            options,
            place=place,
            id=_example_id(item, fields, options),
            label=label,
            labeler=GROUND_TRUTH if is_truth else labeler_of(who, options, prefix=PREFIX),
            at=moment_of(annotation.get("updated_at") or annotation.get("created_at"), options),
            corrects=is_review or corrects_of(fields, options),
            mark=fields.get(QUEUE_MARK),
        )
    except WrongItem as error:
        return wrong(place, error)


def _of_flat(item: Mapping[str, Any], place: str, options: ImportOptions) -> ToolOpinion | LeftOut:
    """JSON_MIN: the task's data, the controls and the annotation are fields of one object."""
    try:
        name = column_of("label", options) or options.schema.output.name
        label = label_of(cell_labels(item.get(name), options.schema.output) or [], options.schema.output)
        if label is None and name not in item:
            raise WrongItem(f"it has no field `{name}`; `--map CONTROL=label` names the one with the label")
        if label is None:
            return left(place, "unlabelled")
        return line_of(
            inputs_of(item, options),
            options,
            place=place,
            id=_example_id(item, item, options),
            label=label,
            labeler=labeler_of(item.get("annotator"), options, prefix=PREFIX),
            at=moment_of(item.get("updated_at") or item.get("created_at"), options),
            corrects=corrects_of(item, options),
            mark=item.get(QUEUE_MARK),
        )
    except WrongItem as error:
        return wrong(place, error)


def _said_by(annotation: Mapping[str, Any]) -> tuple[Any, bool]:
    """Who is behind the label, and whether that is a person who changed the annotation of another one."""
    maker, updater = annotation.get("completed_by"), annotation.get("updated_by")
    number = maker.get("id") if isinstance(maker, Mapping) else maker
    other = updater.get("id") if isinstance(updater, Mapping) else updater
    # One person may be an address here and a number there.
    is_updated = number is not None and type(number) is type(other) and number != other
    return (updater if is_updated else maker), is_updated


def _values(result: Any, options: ImportOptions) -> list[Any]:
    """Of the control that `--map` names, or that is called as the task's output, or that is the only one."""
    results = [each for each in result if isinstance(each, Mapping)] if isinstance(result, list) else []
    whole = [each for each in results if each.get("type") in CONTROLS]
    if results and not whole:
        kinds = listed({str(each.get("type")) for each in results}, num_max=4)
        raise WrongItem(f"its results are regions ({kinds}); a label of the whole example is needed, such as choices")
    wanted = column_of("label", options)
    names = list(dict.fromkeys(str(each.get("from_name")) for each in whole))
    if wanted is None and options.schema.output.name in names:
        wanted = options.schema.output.name
    if wanted is None and len(names) > 1:
        raise WrongItem(f"{len(names)} controls ({listed(names, num_max=4)}); `--map CONTROL=label` names the one")
    return [value for each in whole if wanted in (None, each.get("from_name")) for value in _value_list(each)]


def _value_list(result: Mapping[str, Any]) -> Sequence[Any]:
    kind, value = str(result.get("type")), result.get("value")
    found = value.get(CONTROLS[kind]) if isinstance(value, Mapping) else None
    if kind == "taxonomy" and isinstance(found, list):  # each is a path from the root; its end is the label
        return [path[-1] if isinstance(path, list) and path else path for path in found]
    return found if isinstance(found, list) else [found]


def _main_field(fields: Mapping[str, Any], options: ImportOptions) -> str:
    """The only field of the task's data beside the id, whatever it is called."""
    others = [name for name in fields if name not in {EXAMPLE_ID, "id", column_of("id", options)}]
    return others[0] if len(others) == 1 else ""


def _example_id(item: Mapping[str, Any], fields: Mapping[str, Any], options: ImportOptions) -> Any:
    """Label Studio's number of a task is unique in its server: it is the last resort."""
    mapped = column_of("id", options)
    own = fields.get(mapped if mapped is not None else EXAMPLE_ID)
    if own in (None, "") and mapped is None and fields is not item:
        own = fields.get("id")
    if own not in (None, ""):
        return own
    if item.get("id") is None:
        raise WrongItem("it has no id; `--map FIELD=id` names the field with the example's id")
    return f"{PREFIX}{printable(str(item['id']), chars_max=100)}"
