"""Server-side apply: who owns which field, and what happens when two want the same one. Pure."""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from embedded.control_plane.kubernetes.errors import GROUP, VERSION, ApiError
from embedded.control_plane.kubernetes.field_paths import (
    Path,
    differs_at,
    dotted_path_of,
    fields_of,
    is_item,
    is_key,
    merge_fields,
    remove_field,
)
from embedded.control_plane.kubernetes.managed_fields import Ownership, parse_managed_fields


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
        owner: frozenset(
            path for path in owner.fields & applied if not is_item(path) and differs_at(live, config, path)
        )
        for owner in others
    }
    contested = {owner: paths - forgiven for owner, paths in disputed.items()}
    if not is_forced and any(contested.values()):
        raise _conflict(contested)
    others = [owner.model_copy(update={"fields": owner.fields - disputed[owner]}) for owner in others]
    merged = merge_fields(live, config, ())
    kept = applied.union(*(owner.fields for owner in others))
    for path in sorted((own.fields if own else frozenset()) - kept, key=len):  # an item before its fields
        if not is_key(path) and not any(other[: len(path)] == path for other in kept):
            remove_field(merged, path, kept)
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
        path for path in new if path not in old or (not is_item(path) and differs_at(before, after, path))
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
        names = sorted(dotted_path_of(path) for path in paths)
        causes += [
            {"reason": "FieldManagerConflict", "message": f"conflict with {using}", "field": name} for name in names
        ]
        told += [f"conflict with {using}: {name}" for name in names]
    count = f"{len(causes)} conflict" + ("s" if len(causes) > 1 else "")
    text = f"Apply failed with {count}: {'; '.join(told)}. Apply with force to take the fields over"
    return ApiError(409, "Conflict", text, details={"causes": causes})
