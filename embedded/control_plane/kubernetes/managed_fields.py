"""`metadata.managedFields`: which manager owns which fields, read and written in the form FieldsV1. Pure."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict

from embedded.control_plane.kubernetes.errors import GROUP, VERSION
from embedded.control_plane.kubernetes.field_paths import Path


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
