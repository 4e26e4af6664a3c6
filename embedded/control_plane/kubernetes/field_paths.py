"""Fields of an object by their paths: which there are, what each holds, how two objects differ and merge. Pure.

Paths are in the notation of `managedFields` (FieldsV1): `f:spec`, `k:{"name":"A"}` for an item of a list that is a map,
`v:"x"` for an item of a list that is a set. Which lists are maps is what KServe's CustomResourceDefinition says of the
fields that are served here; all others are replaced as a whole.
"""

import copy
import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

Path = tuple[str, ...]
_MAP_LISTS: dict[Path, tuple[str, ...]] = {
    ("spec", "predictor", "model", "env"): ("name",),
    ("spec", "predictor", "model", "ports"): ("containerPort", "protocol"),
}
_SET_LISTS = {("metadata", "finalizers")}
_ATOMIC_MAPS = {("spec", "predictor", "model", "env", "[]", "valueFrom", "secretKeyRef")}
_DEFAULTS = {"protocol": "TCP"}
_MISSING = object()


def fields_of(found: Mapping[str, Any]) -> frozenset[Path]:
    """The fields that somebody can own: labels, annotations, finalizers, and the spec's."""
    metadata = found.get("metadata") or {}
    owned = {key: metadata[key] for key in ("labels", "annotations", "finalizers") if metadata.get(key)}
    return frozenset(_walk({"metadata": owned, "spec": found.get("spec") or {}}, (), ())) - {
        ("f:metadata",),
        ("f:spec",),
    }


def same_fields(live: Mapping[str, Any], config: Mapping[str, Any]) -> frozenset[Path]:
    """The fields of `config` that `live` has with the same values."""
    return frozenset(path for path in fields_of(config) if not differs_at(live, config, path))


def _walk(value: Any, path: Path, names: tuple[str, ...]) -> Iterator[Path]:
    if isinstance(value, Mapping) and value and names not in _ATOMIC_MAPS:
        for key, inner in value.items():
            yield from _walk(inner, (*path, f"f:{key}"), (*names, key))
    elif names in _MAP_LISTS and isinstance(value, list):
        for item in value:
            item_path = (*path, _item_key(item, _MAP_LISTS[names]))
            yield item_path
            if isinstance(item, Mapping):
                yield from _walk(item, item_path, (*names, "[]"))
    elif names in _SET_LISTS and isinstance(value, list):
        yield from ((*path, f"v:{json.dumps(item)}") for item in value)
    else:
        yield path


def _item_key(item: Any, keys: tuple[str, ...]) -> str:
    values = {key: item.get(key, _DEFAULTS.get(key)) for key in keys} if isinstance(item, Mapping) else {"": item}
    return f"k:{json.dumps(values, separators=(',', ':'), sort_keys=True)}"


def is_item(path: Path) -> bool:
    """Being there is all there is to it: two may own the same item, or the same member of a set."""
    return not path[-1].startswith("f:")


def is_key(path: Path) -> bool:
    """The name of an item that is there because somebody owns another field of it."""
    return len(path) > 1 and path[-2].startswith("k:") and path[-1][2:] in json.loads(path[-2][2:])


def differs_at(one: Mapping[str, Any], other: Mapping[str, Any], path: Path) -> bool:
    values = _value_at(one, path), _value_at(other, path)
    if all(isinstance(value, Mapping) for value in values) and _names_of(path) not in _ATOMIC_MAPS:
        return False  # owning an empty object is owning that there is one
    return values[0] != values[1]


def _names_of(path: Path) -> tuple[str, ...]:
    """The path among the schema's names."""
    return tuple(element[2:] if element.startswith("f:") else "[]" for element in path)


def _value_at(found: Any, path: Path) -> Any:
    names: tuple[str, ...] = ()
    for element in path:
        found, name = _step(found, element, names)
        names = (*names, name)
    return found


def _step(found: Any, element: str, names: tuple[str, ...]) -> tuple[Any, str]:
    """The value below, and the name of its place among the schema's names."""
    if element.startswith("f:"):
        key = element[2:]
        return (found.get(key, _MISSING) if isinstance(found, Mapping) else _MISSING), key
    items = found if isinstance(found, list) else []
    if element.startswith("v:"):
        return next((item for item in items if f"v:{json.dumps(item)}" == element), _MISSING), "[]"
    keys = _MAP_LISTS.get(names, ())
    return next((item for item in items if _item_key(item, keys) == element), _MISSING), "[]"


def merge_fields(live: Any, config: Any, names: tuple[str, ...]) -> Any:
    if isinstance(live, Mapping) and isinstance(config, Mapping) and names not in _ATOMIC_MAPS:
        merged = {key: copy.deepcopy(value) for key, value in live.items()}
        return merged | {key: merge_fields(live.get(key), value, (*names, key)) for key, value in config.items()}
    if isinstance(live, list) and isinstance(config, list) and names in _SET_LISTS:
        return [*live, *(item for item in config if item not in live)]
    if isinstance(live, list) and isinstance(config, list) and names in _MAP_LISTS:
        keys = _MAP_LISTS[names]
        items = {_item_key(item, keys): copy.deepcopy(item) for item in live}
        for item in config:
            key = _item_key(item, keys)
            items[key] = merge_fields(items.get(key), item, (*names, "[]"))
        return list(items.values())
    return copy.deepcopy(config)


def remove_field(found: Any, path: Path, kept: Iterable[Path]) -> None:
    """Take one field out of the object, and the parents that it leaves empty and that nobody wants."""
    for length in range(len(path), 0, -1):
        parent = _value_at(found, path[: length - 1])
        value, name = _step(parent, path[length - 1], _names_of(path[: length - 1]))
        if value is _MISSING or (length < len(path) and (value or path[:length] in kept)):
            return
        if isinstance(parent, dict):
            del parent[name]
        else:
            parent.remove(value)


def dotted_path_of(path: Path) -> str:
    """`.spec.predictor.model.env[name="A"].value`, as the API server writes it."""
    text = ""
    for element in path:
        if element.startswith("f:"):
            text += f".{element[2:]}"
        else:
            value = json.loads(element[2:])
            named = value.items() if isinstance(value, dict) else [("", value)]
            text += (
                "[" + ",".join(f"{key}={json.dumps(each)}" if key else json.dumps(each) for key, each in named) + "]"
            )
    return text
