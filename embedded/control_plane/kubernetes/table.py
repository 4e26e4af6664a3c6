"""Tables: what `kubectl get` asks a server for and prints as it is. Pure."""

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any

from embedded.control_plane.kubernetes.kinds import Column, ObjectKind

_META = "meta.k8s.io/v1"


def render_table(
    kind: ObjectKind,
    items: Iterable[Mapping[str, Any]],
    *,
    metadata: Mapping[str, Any],
    now: datetime,
    include: str = "Metadata",
    has_header: bool = True,
) -> dict[str, Any]:
    """`meta.k8s.io/v1 Table`. `include` is how much of each object its row carries: None, Metadata or Object."""
    return {
        "kind": "Table",
        "apiVersion": _META,
        "metadata": dict(metadata),
        "columnDefinitions": [_definition(column) for column in kind.columns] if has_header else [],
        "rows": [
            {"cells": [_cell(column, found, now) for column in kind.columns], **_row_object(found, include)}
            for found in items
        ],
    }


def _definition(column: Column) -> dict[str, Any]:
    return {
        "name": column.name,
        "type": column.type,
        "format": column.format,
        "description": column.name,
        "priority": column.priority,
    }


def _cell(column: Column, found: Mapping[str, Any], now: datetime) -> Any:
    value = column.of(found)
    if column.type == "date":
        return render_age(now - datetime.fromisoformat(value)) if value else "<unknown>"
    return value


def _row_object(found: Mapping[str, Any], include: str) -> dict[str, Any]:
    if include == "None":
        return {}
    if include == "Object":
        return {"object": found}
    return {"object": {"kind": "PartialObjectMetadata", "apiVersion": _META, "metadata": found["metadata"]}}


def render_age(age: timedelta) -> str:
    """As kubectl tells ages: two units at most, the coarser the older.

    Source: `HumanDuration` in k8s.io/apimachinery pkg/util/duration/duration.go.
    """
    seconds = int(age.total_seconds())
    minutes, hours, days = seconds // 60, seconds // 3600, seconds // 86_400
    if seconds < -1:
        return "<invalid>"
    if seconds < 120:
        return f"{max(0, seconds)}s"
    if minutes < 10:
        return _two(minutes, "m", seconds % 60, "s")
    if hours < 3:
        return f"{minutes}m"
    if hours < 8:
        return _two(hours, "h", minutes % 60, "m")
    if hours < 48:
        return f"{hours}h"
    if days < 8:
        return _two(days, "d", hours % 24, "h")
    if days < 730:
        return f"{days}d"
    if days < 8 * 365:
        return _two(days // 365, "y", days % 365, "d")
    return f"{days // 365}y"


def _two(large: int, large_unit: str, small: int, small_unit: str) -> str:
    return f"{large}{large_unit}{small}{small_unit}" if small else f"{large}{large_unit}"
