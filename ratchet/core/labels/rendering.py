"""Opinions as lines of a label shard. Pure."""

import base64
import json
from datetime import UTC, datetime
from typing import Any

from ratchet.core.labels.input_values import GivenImage
from ratchet.core.labels.parsing import Row
from ratchet.core.labels.queue_marks import QUEUE_MARK
from ratchet.core.labels.schema import ExampleSchema
from ratchet.core.labels.shards import Label


def render_opinion(row: Row, schema: ExampleSchema) -> bytes:
    """One line. Of a task whose only input is a vector it has `features`; `corrects` is there only where it is true,
    and `queue_mark` where there is one, so that equal labels stay equal bytes."""
    corrects = {"corrects": True} if row.get("corrects") else {}
    mark = {} if row.get(QUEUE_MARK) is None else {QUEUE_MARK: row[QUEUE_MARK]}
    short = schema.short_input
    if short is not None:
        others = {name: row.get(name) for name in ("id", "label", "labeler", "labeled_at", "uri")}
        if isinstance(row["label"], str):
            label = Label(features=row["inputs"][short.name], **others, **corrects, **mark)
            return label.model_dump_json(exclude_none=True).encode() + b"\n"
    inputs = {name: _rendered(value) for name, value in row["inputs"].items() if value is not None}
    said = {"labeler": row["labeler"], "labeled_at": _rendered(row["labeled_at"])}
    line = {"id": row["id"], "inputs": inputs, "label": row["label"], **said, **corrects, **mark}
    return json.dumps(line, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


def _rendered(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    if isinstance(value, GivenImage):
        return value.uri or {"b64": base64.b64encode(value.data).decode()}
    return value
