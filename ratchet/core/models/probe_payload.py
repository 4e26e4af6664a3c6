"""Examples as the V1 protocol takes them: what the gate asks the real model server. Pure."""

import base64
from datetime import datetime
from typing import Any

import pyarrow as pa

from ratchet.core.labels.images import encode_png
from ratchet.core.labels.schema import ExampleSchema, ImageInput, InputSpec


def probe_payload(inputs: pa.Table, schema: ExampleSchema) -> list[Any]:
    """One instance a row: the list of numbers of a single vector, else an object {name of the input: value}; a value
    that is missing is null."""
    if schema.short_input is not None:
        return list(inputs[schema.short_input.name].to_pylist())
    columns = {each.name: [_json_of(value, each) for value in inputs[each.name].to_pylist()] for each in schema.inputs}
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def _json_of(value: Any, declared: InputSpec) -> Any:
    if isinstance(value, bytes) and isinstance(declared, ImageInput):
        return {"b64": base64.b64encode(encode_png(value, declared)).decode()}
    return value.isoformat() if isinstance(value, datetime) else value
