"""Server-side apply: who owns which field, and what happens when two want the same one. Pure.

Fields are paths in the notation of `managedFields` (FieldsV1): `f:spec`, `k:{"name":"A"}` for an item of a list that
is a map, `v:"x"` for an item of a list that is a set. Which lists are maps is what KServe's CustomResourceDefinition
says of the fields that are served here; all others are replaced as a whole.
"""

import copy
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict

from embedded.control_plane.kubernetes.errors import GROUP, VERSION, ApiError

Path = tuple[str, ...]
_MAP_LISTS: dict[Path, tuple[str, ...]] = {
    ("spec", "predictor", "model", "env"): ("name",),
    ("spec", "predictor", "model", "ports"): ("containerPort", "protocol"),
}
_SET_LISTS = {("metadata", "finalizers")}
_ATOMIC_MAPS = {("spec", "predictor", "model", "env", "[]", "valueFrom", "secretKeyRef")}
_DEFAULTS = {"protocol": "TCP"}
_MISSING = object()


class Ownership(BaseModel):
    """One entry of `metadata.managedFields`."""

    model_config = ConfigDict(frozen=True)

    manager: str
    operation: str
    """Apply, or Update for everything else."""
    time: str
    fields: frozenset[Path]
    api_version: str = f"{GROUP}/{VERSION}"


def parse_managed_fields(entries: Any) -> tuple[Ownership, ...] | None:
    """None when they cannot be understood; Kubernetes then goes on with those it had."""
    try:
        return tuple(
            Ownership(
                manager=entry["manager"],
                operation=entry["operation"],
                time=entry.get("time", ""),
                fields=frozenset(_parse_fields(entry.get("fieldsV1", {}))),
                api_version=entry["apiVersion"],
            )
            for entry in entries or ()
        )
    except (AttributeError, KeyError, TypeError, ValueError):
        return None


def render_managed_fields(owners: Iterable[Ownership]) -> list[dict[str, Any]]:
    return [
        {
            "manager": owner.manager,
            "operation": owner.operation,
            "apiVersion": owner.api_version,
            "time": owner.time,
            "fieldsType": "FieldsV1",
            "fieldsV1": _render_fields(owner.fields),
        }
        for owner in sorted(owners, key=lambda owner: (owner.operation, owner.manager))
        if owner.fields
    ]


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
    return frozenset(path for path in fields_of(config) if not _differs(live, config, path))


def apply_config(
    live: Mapping[str, Any],
    config: Mapping[str, Any],
    owners: Sequence[Ownership],
    *,
    manager: str,
    is_forced: bool,
    now: str,
    api_version: str = f"{GROUP}/{VERSION}",
    forgiven: frozenset[Path] = frozenset(),
) -> tuple[dict[str, Any], tuple[Ownership, ...]]:
    """The object and its owners after `manager` applied `config`. 409 names the fields that others hold otherwise.

    What this manager applied before and no longer does goes away, unless another manager owns it too. `forgiven` are
    fields that this manager may take without force.
    """
    applied = fields_of(config)
    own = next((owner for owner in owners if _is_same(owner, manager, "Apply")), None)
    others = [owner for owner in owners if owner is not own]
    disputed = {
        owner: frozenset(path for path in owner.fields & applied if not _is_item(path) and _differs(live, config, path))
        for owner in others
    }
    contested = {owner: paths - forgiven for owner, paths in disputed.items()}
    if not is_forced and any(contested.values()):
        raise _conflict(contested)
    others = [owner.model_copy(update={"fields": owner.fields - disputed[owner]}) for owner in others]
    merged = _merge(live, config, ())
    kept = applied.union(*(owner.fields for owner in others))
    for path in sorted((own.fields if own else frozenset()) - kept, key=len):  # an item before its fields
        if not _is_key(path) and not any(other[: len(path)] == path for other in kept):
            _remove(merged, path, kept)
    time = own.time if own and own.fields == applied else now
    mine = Ownership(manager=manager, operation="Apply", time=time, fields=applied, api_version=api_version)
    return merged, (*others, mine)


def owners_after(
    before: Mapping[str, Any], after: Mapping[str, Any], given: Any, *, manager: str, now: str, api_version: str
) -> tuple[Ownership, ...]:
    """The owners after an update that brings `given` as `managedFields`. An author may rewrite the owners, as kubectl
    does when it goes over to server-side apply, or strip them with `[{}]`; owners that are absent or cannot be read
    stay as they were.

    Source: k8s.io/apimachinery pkg/util/managedfields/internal/fieldmanager.go (`UpdateNoErrors`).
    """
    if given == [{}]:
        return ()
    stored = parse_managed_fields(before["metadata"].get("managedFields")) or ()
    owners = parse_managed_fields(given) or stored
    return track_update(before, after, owners, manager=manager, now=now, api_version=api_version)


def track_update(
    before: Mapping[str, Any],
    after: Mapping[str, Any],
    owners: Sequence[Ownership],
    *,
    manager: str,
    now: str,
    api_version: str = f"{GROUP}/{VERSION}",
) -> tuple[Ownership, ...]:
    """The owners after a create, PUT or patch: whoever changed a field owns it; a field that is gone has no owner."""
    old, new = fields_of(before), fields_of(after)
    changed = frozenset(
        path for path in new if path not in old or (not _is_item(path) and _differs(before, after, path))
    )
    if not changed and old == new:
        return tuple(owners)
    mine = next((owner for owner in owners if _is_same(owner, manager, "Update")), None)
    others = [
        owner.model_copy(update={"fields": (owner.fields - changed) & new}) for owner in owners if owner is not mine
    ]
    fields = ((mine.fields if mine else frozenset()) & new) | changed
    mine = Ownership(manager=manager, operation="Update", time=now, fields=fields, api_version=api_version)
    return (*others, mine)


def _is_same(owner: Ownership, manager: str, operation: str) -> bool:
    return (owner.manager, owner.operation) == (manager, operation)


def _conflict(disputed: Mapping[Ownership, Iterable[Path]]) -> ApiError:
    """In the API server's words, which kubectl shows to people."""
    causes = []
    told = []
    for owner, paths in disputed.items():
        using = f"{json.dumps(owner.manager)}" + (f" using {owner.api_version}" if owner.operation == "Update" else "")
        names = sorted(_dotted(path) for path in paths)
        causes += [
            {"reason": "FieldManagerConflict", "message": f"conflict with {using}", "field": name} for name in names
        ]
        told += [f"conflict with {using}: {name}" for name in names]
    count = f"{len(causes)} conflict" + ("s" if len(causes) > 1 else "")
    text = f"Apply failed with {count}: {'; '.join(told)}. Apply with force to take the fields over"
    return ApiError(409, "Conflict", text, details={"causes": causes})


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


def _is_item(path: Path) -> bool:
    """Being there is all there is to it: two may own the same item, or the same member of a set."""
    return not path[-1].startswith("f:")


def _is_key(path: Path) -> bool:
    """The name of an item that is there because somebody owns another field of it."""
    return len(path) > 1 and path[-2].startswith("k:") and path[-1][2:] in json.loads(path[-2][2:])


def _differs(one: Mapping[str, Any], other: Mapping[str, Any], path: Path) -> bool:
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


def _merge(live: Any, config: Any, names: tuple[str, ...]) -> Any:
    if isinstance(live, Mapping) and isinstance(config, Mapping) and names not in _ATOMIC_MAPS:
        merged = {key: copy.deepcopy(value) for key, value in live.items()}
        return merged | {key: _merge(live.get(key), value, (*names, key)) for key, value in config.items()}
    if isinstance(live, list) and isinstance(config, list) and names in _SET_LISTS:
        return [*live, *(item for item in config if item not in live)]
    if isinstance(live, list) and isinstance(config, list) and names in _MAP_LISTS:
        keys = _MAP_LISTS[names]
        items = {_item_key(item, keys): copy.deepcopy(item) for item in live}
        for item in config:
            key = _item_key(item, keys)
            items[key] = _merge(items.get(key), item, (*names, "[]"))
        return list(items.values())
    return copy.deepcopy(config)


def _remove(found: Any, path: Path, kept: Iterable[Path]) -> None:
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


def _parse_fields(tree: Mapping[str, Any], path: Path = ()) -> Iterator[Path]:
    for key, inner in tree.items():
        if key == ".":
            yield path
        elif not inner:
            yield (*path, key)
        else:
            yield from _parse_fields(inner, (*path, key))


def _render_fields(paths: Iterable[Path]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    every = set(paths)
    for path in sorted(every):
        node = tree
        for element in path:
            node = node.setdefault(element, {})
        if any(other[: len(path)] == path and other != path for other in every):
            node["."] = {}
    return tree


def _dotted(path: Path) -> str:
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
