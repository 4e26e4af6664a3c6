"""JSON lines: label lines of Ratchet, the lines of `ratchet labels queue` with their labels filled in, or flat fields.
Pure."""

from collections.abc import Iterator, Mapping
from typing import Any

from ratchet.core.labels.formats.fields import moment_of
from ratchet.core.labels.formats.items import (
    ImportOptions,
    LeftOut,
    ToolOpinion,
    WrongItem,
    left,
    read_objects_of,
    wrong,
)
from ratchet.core.labels.formats.rows import check_label_column, opinion_of_row

QUEUE_FIELDS = frozenset({"champion", "audit", "blind", "reason"})
"""What `ratchet labels queue` writes beside the example."""


def read_jsonl(data: bytes, options: ImportOptions) -> Iterator[ToolOpinion | LeftOut]:
    for each in read_objects_of(data, what="item"):
        if isinstance(each, LeftOut):
            yield each
            continue
        place, value = each
        if not options.columns and ("inputs" in value or "features" in value):
            yield _of_label_line(value, place, options)
            continue
        try:
            check_label_column(value, options)
        except WrongItem as error:
            yield wrong(place, error)
            continue
        yield opinion_of_row(value, place, options)


def _of_label_line(value: Mapping[str, Any], place: str, options: ImportOptions) -> ToolOpinion | LeftOut:
    line = {name: given for name, given in value.items() if name not in QUEUE_FIELDS}
    if line.get("label") is None:
        return left(place, "unlabelled")
    if not line.get("labeler") and options.labeler:
        line["labeler"] = options.labeler
    line["labeled_at"] = moment_of(line.get("labeled_at"), options)
    return ToolOpinion(place, line)
