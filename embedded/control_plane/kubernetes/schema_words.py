"""Words that the schemas of the served kinds are written in: OpenAPI v3 as Kubernetes' structural schemas use it.

A schema is a plain object. What KServe or the Gateway API knows and this server refuses is written by name and type
only (`foreign`): enough to tell a typing error from a field that a cluster would honour.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

Schema = dict[str, Any]
RULES = "x-kubernetes-validations"
LIST_TYPE, LIST_KEYS = "x-kubernetes-list-type", "x-kubernetes-list-map-keys"
KEEPS_UNKNOWN = "x-kubernetes-preserve-unknown-fields"
FOREIGN = "Part of the definition; a cluster honours it, this server refuses it."


class Rule(NamedTuple):
    """A CEL rule of a definition, translated by hand: its text, its message, and whether a value obeys it."""

    text: str
    message: str
    holds: Callable[[Any], bool]


IMMUTABLE = Rule("self == oldSelf", "field is immutable", lambda value: True)
"""Of a change: `StoredObjects` compares both values."""


def text(description: str, **limits: Any) -> Schema:
    return {"type": "string", "description": description, **limits}


def number(description: str, *, format: str = "int32", **limits: Any) -> Schema:
    return {"type": "integer", "format": format, "description": description, **limits}


def flag(description: str) -> Schema:
    return {"type": "boolean", "description": description}


def list_of(description: str, items: Schema, *, obeys: tuple[Rule, ...] = (), **limits: Any) -> Schema:
    schema: Schema = {"type": "array", "description": description, "items": items, **limits}
    return schema | ({RULES: obeys} if obeys else {})


def map_by(*keys: str) -> Schema:
    """Of a list whose items have an identity."""
    return {LIST_TYPE: "map", LIST_KEYS: list(keys)}


def object_of(
    description: str,
    *,
    required: tuple[str, ...] = (),
    others: str = "",
    obeys: tuple[Rule, ...] = (),
    **properties: Schema,
) -> Schema:
    """`others` are the foreign fields, as `foreign` reads them."""
    schema: Schema = {"type": "object", "description": description, "properties": {**properties, **foreign(others)}}
    if required:
        schema["required"] = list(required)
    return schema | ({RULES: obeys} if obeys else {})


def texts(description: str) -> Schema:
    """An object of strings."""
    return {"type": "object", "description": description, "additionalProperties": {"type": "string"}}


def anything(description: str) -> Schema:
    return {"type": "object", "description": description, KEEPS_UNKNOWN: True}


def foreign(listed: str) -> Mapping[str, Schema]:
    """`affinity timeout:integer tty:boolean volumes:array`; a name alone is an object."""
    fields = {}
    for word in listed.split():
        name, _, kind = word.partition(":")
        field: Schema = {"type": kind or "object", "description": FOREIGN}
        if field["type"] == "object":
            field[KEEPS_UNKNOWN] = True
        elif kind == "array":
            field["items"] = {KEEPS_UNKNOWN: True}
        fields[name] = field
    return fields
