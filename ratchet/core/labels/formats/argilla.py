"""Argilla: the records of version 2 (`Record.to_dict`), of its server, and of version 1. Pure."""

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
)
from ratchet.core.labels.formats.items import (
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
from wire.printable import listed

_LEFT: Mapping[str, Why] = {"discarded": "cancelled", "draft": "draft", "pending": "draft"}


def read_argilla(data: bytes, options: ImportOptions) -> Iterator[ToolOpinion | LeftOut]:
    """Each submitted response is an opinion; suggestions are predictions."""
    for each in read_objects_of(data, what="record"):
        if isinstance(each, LeftOut):
            yield each
            continue
        place, item = each
        inner = item.get("items")
        records = inner if isinstance(inner, list) else [item]
        for number, record in enumerate(records, 1):
            where = f"record {number}" if isinstance(inner, list) else place
            yield from _of_record(record, where, options)


def _of_record(record: Any, place: str, options: ImportOptions) -> Iterator[ToolOpinion | LeftOut]:
    if not isinstance(record, Mapping):
        yield wrong(place, "a JSON object is expected")
        return
    if record.get("suggestions") or record.get("prediction"):
        yield left(f"{place}, suggestions", "prediction")
    try:
        found = list(_responses(record, options))
    except WrongItem as error:
        yield wrong(place, error)
        return
    if not found:
        yield left(place, "unlabelled")
    for number, (who, status, at, value) in enumerate(found, 1):
        where = f"{place}, response {number}"
        why = _LEFT.get(str(status).lower()) if status else None
        yield left(where, why) if why else _opinion(record, where, options, who=who, at=at, value=value)


def _opinion(
    record: Mapping[str, Any], place: str, options: ImportOptions, *, who: Any, at: Any, value: Any
) -> ToolOpinion | LeftOut:
    try:
        output = options.schema.output
        label = label_of(cell_labels(value, output) or [], output)
        if label is None:
            return left(place, "unlabelled")
        metadata, shown = record.get("metadata"), record.get("fields", record.get("inputs"))
        fields = {
            **(metadata if isinstance(metadata, Mapping) else {}),
            **(shown if isinstance(shown, Mapping) else {}),
            **({"text": record["text"]} if isinstance(record.get("text"), str) else {}),
        }
        return line_of(
            inputs_of(fields, options, main="text" if "text" in fields else next(iter(fields), "")),
            options,
            place=place,
            id=_example_id(record, fields, options),
            label=label,
            labeler=labeler_of(who, options),
            at=moment_of(at, options),
            corrects=corrects_of(fields, options),
            mark=fields.get(QUEUE_MARK),
        )
    except WrongItem as error:
        return wrong(place, error)


def _responses(record: Mapping[str, Any], options: ImportOptions) -> Iterator[tuple[Any, Any, Any, Any]]:
    """(who, status, at, value) of each response to the question with the label."""
    found = record.get("responses")
    if isinstance(found, Mapping):  # version 2, by question
        question = _question(list(found), options)
        answers = found.get(question)
        for each in answers if isinstance(answers, list) else []:
            if isinstance(each, Mapping):
                yield each.get("user_id"), each.get("status"), each.get("updated_at"), each.get("value")
    elif isinstance(found, list):  # the server's form, by annotator
        for each in found:
            values = each.get("values") if isinstance(each, Mapping) else None
            at = each.get("updated_at") or each.get("inserted_at") if isinstance(each, Mapping) else None
            if not isinstance(values, Mapping) or not values:
                status = each.get("status", "draft") if isinstance(each, Mapping) else "draft"
                yield None, "draft" if status == "submitted" else status, at, None
                continue
            value = values.get(_question(list(values), options))
            yield (
                each.get("user_id"),
                each.get("status"),
                at,
                value.get("value") if isinstance(value, Mapping) else None,
            )
    elif record.get("annotation") is not None:  # version 1
        status = "discarded" if record.get("status") == "Discarded" else "submitted"
        yield record.get("annotation_agent"), status, record.get("event_timestamp"), record["annotation"]


def _question(names: list[str], options: ImportOptions) -> str:
    wanted = column_of("label", options)
    if wanted is not None:
        return wanted
    if options.schema.output.name in names:
        return options.schema.output.name
    if len(names) > 1:
        raise WrongItem(f"{len(names)} questions ({listed(names, num_max=4)}); `--map QUESTION=label` names the one")
    return names[0] if names else ""


def _example_id(record: Mapping[str, Any], fields: Mapping[str, Any], options: ImportOptions) -> Any:
    mapped = column_of("id", options)
    names = ("external_id", "id", "_server_id")
    own = fields.get(mapped) if mapped else fields.get(EXAMPLE_ID)
    found = own if own not in (None, "") else next((record[name] for name in names if record.get(name)), None)
    if found is None:
        raise WrongItem("it has no id; `--map FIELD=id` names the field with the example's id")
    return found
