"""What an API server does to a custom resource by its schema: prune, default, validate. Pure.

The words of refusals are the server's own. Sources, in staging/src/k8s.io/apiextensions-apiserver/pkg of
kubernetes/kubernetes: apiserver/schema/pruning/algorithm.go (`PruneWithOptions`),
apiserver/schema/defaulting/algorithm.go (`Default`, `PruneNonNullableNullsWithoutDefaults`),
apiserver/validation/validation.go (`kubeOpenAPIResultToFieldErrors`), apiserver/schema/listtype/validation.go,
registry/customresource/strategy.go (`hasBlockingErr`). The messages of values come from k8s.io/kube-openapi,
pkg/validation/errors/schema.go.
"""

import copy
import json
import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any

from embedded.control_plane.kubernetes.errors import FieldError
from embedded.control_plane.kubernetes.schema_words import KEEPS_UNKNOWN, LIST_KEYS, LIST_TYPE, RULES, Schema

_TYPES = {dict: "object", list: "array", str: "string", bool: "boolean", int: "integer", float: "number"}
_RANGES = {"int32": 2**31, "int64": 2**63}
_BLOCKING = {"FieldValueRequired", "FieldValueTooLong", "FieldValueTooMany", "FieldValueTypeInvalid"}
_UNCHECKED = (
    "some validation rules were not checked because the object was invalid; "
    "correct the existing errors to complete validation"
)


def prune(value: Any, schema: Schema, path: str = "") -> tuple[Any, list[str]]:
    """The value without what its schema does not name, and the paths of what was dropped."""
    if isinstance(value, list):
        items = [prune(item, schema.get("items", {}), f"{path}[{index}]") for index, item in enumerate(value)]
        return [item for item, _ in items], [unknown for _, found in items for unknown in found]
    if not isinstance(value, Mapping):
        return value, []
    kept: dict[str, Any] = {}
    dropped: list[str] = []
    properties, others = schema.get("properties", {}), schema.get("additionalProperties")
    for key, inner in value.items():
        place = f"{path}.{key}" if path else key
        below = properties.get(key, others)
        if below is not None:
            kept[key], unknown = prune(inner, below, place)
            dropped += unknown
        elif schema.get(KEEPS_UNKNOWN):
            kept[key] = inner
        else:
            dropped.append(place)
    return kept, dropped


def with_defaults(value: Any, schema: Schema) -> Any:
    """Nulls of fields go, or become the field's default; absent fields get theirs; 1.0 is the integer 1."""
    if isinstance(value, list):
        return [with_defaults(item, schema.get("items", {})) for item in value]
    if isinstance(value, float) and schema.get("type") == "integer" and value.is_integer():
        return int(value)
    if not isinstance(value, Mapping):
        return value
    properties, others = schema.get("properties", {}), schema.get("additionalProperties")
    whole = {key: copy.deepcopy(below["default"]) for key, below in properties.items() if "default" in below}
    keeps_null = bool(schema.get(KEEPS_UNKNOWN))
    given = {key: inner for key, inner in value.items() if inner is not None or (keeps_null and key not in properties)}
    merged = {**given, **{key: default for key, default in whole.items() if key not in given}}
    return {key: with_defaults(inner, properties.get(key, others or {})) for key, inner in merged.items()}


def structure_errors(value: Any, schema: Schema, path: str) -> list[FieldError]:
    """What is wrong with a value, defaults and pruning done: its structure first, then the rules of its definition."""
    errors = [*_value_errors(value, schema, path), *list_errors(value, schema, path)]
    if not _has_rules(schema):
        return errors
    if any(error.reason in _BLOCKING for error in errors):
        return [*errors, FieldError("<nil>", f'Invalid value: "null": {_UNCHECKED}')]
    return [*errors, *_rule_errors(value, schema, path)]


def type_of(value: Any) -> str:
    # `is`, for bool is a subclass of int.
    return next((name for kind, name in _TYPES.items() if type(value) is kind), "null")


def _value_errors(value: Any, schema: Schema, path: str) -> Iterator[FieldError]:
    wanted, found = schema.get("type"), type_of(value)
    if wanted and wanted != found and not (wanted == "number" and found == "integer"):
        text = f'Invalid value: "{found}": {path} in body must be of type {wanted}: "{found}"'
        yield FieldError(path, text, reason="FieldValueTypeInvalid")
        return
    if isinstance(value, str):
        yield from _text_errors(value, schema, path)
    elif isinstance(value, Mapping):
        yield from _object_errors(value, schema, path)
    elif isinstance(value, list):
        yield from _size_errors(value, schema, path)
        for index, item in enumerate(value):
            yield from _value_errors(item, schema.get("items", {}), f"{path}[{index}]")
    elif isinstance(value, int) and not isinstance(value, bool):
        yield from _number_errors(value, schema, path)


def _object_errors(value: Mapping[str, Any], schema: Schema, path: str) -> Iterator[FieldError]:
    properties, others = schema.get("properties", {}), schema.get("additionalProperties")
    for key, inner in value.items():
        below = properties.get(key, others)
        if below is not None:
            yield from _value_errors(inner, below, f"{path}.{key}")
    for key in schema.get("required", ()):
        if key not in value:
            yield FieldError(f"{path}.{key}", "Required value", reason="FieldValueRequired")


def _text_errors(value: str, schema: Schema, path: str) -> Iterator[FieldError]:
    shown = f"Invalid value: {quoted(value)}: {path} in body should"
    if len(value) > schema.get("maxLength", len(value)):
        text = f"Too long: may not be more than {schema['maxLength']} bytes"
        yield FieldError(path, text, reason="FieldValueTooLong")
    if len(value) < schema.get("minLength", 0):
        yield FieldError(path, f"{shown} be at least {schema['minLength']} chars long")
    if "pattern" in schema and not _pattern(schema["pattern"]).search(value):
        yield FieldError(path, f"{shown} match '{schema['pattern']}'")
    if "enum" in schema and value not in schema["enum"]:
        listed = ", ".join(map(quoted, schema["enum"]))
        text = f"Unsupported value: {quoted(value)}: supported values: {listed}"
        yield FieldError(path, text, reason="FieldValueNotSupported")


def _number_errors(value: int, schema: Schema, path: str) -> Iterator[FieldError]:
    format_name = schema.get("format", "int64")
    limit = _RANGES[format_name]
    if not -limit <= value < limit:
        text = f'Invalid value: "": Checked value must be of type integer with format {format_name} in {path}'
        yield FieldError("<nil>", text)
    shown = f"Invalid value: {value}: {path} in body should be"
    if value < schema.get("minimum", value):
        yield FieldError(path, f"{shown} greater than or equal to {schema['minimum']}")
    if value > schema.get("maximum", value):
        yield FieldError(path, f"{shown} less than or equal to {schema['maximum']}")


def _size_errors(value: list[Any], schema: Schema, path: str) -> Iterator[FieldError]:
    size = len(value)
    if size > schema.get("maxItems", size):
        text = f"Too many: {size}: must have at most {schema['maxItems']} items"
        yield FieldError(path, text, reason="FieldValueTooMany")
    if size < schema.get("minItems", 0):
        yield FieldError(path, f"Invalid value: {size}: {path} in body should have at least {schema['minItems']} items")


def list_errors(value: Any, schema: Schema, path: str) -> Iterator[FieldError]:
    """Lists that are maps or sets: no two items with one identity."""
    if isinstance(value, Mapping):
        properties, others = schema.get("properties", {}), schema.get("additionalProperties", {})
        for key, inner in value.items():
            yield from list_errors(inner, properties.get(key, others), f"{path}.{key}")
    if not isinstance(value, list):
        return
    seen: set[str] = set()
    for index, item in enumerate(value):
        place = f"{path}[{index}]"
        identity = _identity_of(item, schema)
        if identity is not None and identity in seen:
            yield FieldError(place, f"Duplicate value: {identity}", reason="FieldValueDuplicate")
        seen |= set() if identity is None else {identity}
        yield from list_errors(item, schema.get("items", {}), place)


def _identity_of(item: Any, schema: Schema) -> str | None:
    if schema.get(LIST_TYPE) != "map" or not isinstance(item, Mapping):
        return None
    keys = {key: item[key] for key in schema[LIST_KEYS] if key in item}
    return json.dumps(keys, separators=(",", ":"), sort_keys=True)


def _has_rules(schema: Schema) -> bool:
    below = [*schema.get("properties", {}).values(), *([schema["items"]] if "items" in schema else [])]
    return RULES in schema or any(map(_has_rules, below))


def _rule_errors(value: Any, schema: Schema, path: str) -> Iterator[FieldError]:
    for rule in schema.get(RULES, ()):
        if not rule.holds(value):
            yield FieldError(path, f'Invalid value: "{type_of(value)}": {rule.message}')
    if isinstance(value, list):
        for index, item in enumerate(value):
            yield from _rule_errors(item, schema.get("items", {}), f"{path}[{index}]")
    elif isinstance(value, Mapping):
        for key, below in schema.get("properties", {}).items():
            if key in value:
                yield from _rule_errors(value[key], below, f"{path}.{key}")


@lru_cache
def _pattern(pattern: str) -> re.Pattern[str]:
    """Go's `$` is the end of the text, never the line feed before it."""
    return re.compile(pattern.replace("$", r"\Z"))


def quoted(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
