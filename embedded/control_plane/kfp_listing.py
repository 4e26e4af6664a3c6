"""Lists of the KFP API: filters, sorting and pages, as SQL over stored documents.

A filter is JSON: `{"predicates": [{"operation", "key", "<type>_value"}]}`. The SDK sends the operation as a number,
people write its name, and value keys come in snake and in camel case.
"""

import json
from collections.abc import Callable
from typing import Annotated, Any

from fastapi import Query
from pydantic import BaseModel, ConfigDict

from embedded.control_plane.kfp_wire import parse_time, time_text
from embedded.control_plane.store import Document, Store
from ratchet.core.errors import DataRejected

_OPERATIONS = {
    "EQUALS": "= ?",
    "NOT_EQUALS": "<> ?",
    "GREATER_THAN": "> ?",
    "GREATER_THAN_EQUALS": ">= ?",
    "LESS_THAN": "< ?",
    "LESS_THAN_EQUALS": "<= ?",
    "IN": "in",
    "IS_SUBSTRING": "like",
}
_NUMBERS = {1: "EQUALS", 2: "NOT_EQUALS", 3: "GREATER_THAN", 5: "GREATER_THAN_EQUALS", 6: "LESS_THAN"}
_NUMBERS |= {7: "LESS_THAN_EQUALS", 8: "IN", 9: "IS_SUBSTRING"}
"""kfp.Client's numbering; 4 is not used."""
_VALUE_KEYS = ("stringvalue", "intvalue", "longvalue", "timestampvalue", "stringvalues", "intvalues", "longvalues")
_FIELDS = (
    *("display_name", "name", "description", "namespace", "state", "status", "storage_state"),
    *("created_at", "updated_at", "finished_at", "scheduled_at"),
    *("experiment_id", "pipeline_id", "pipeline_version_id", "recurring_run_id", "run_id"),
)
_ALIASES = {"id": "", "createdAt": "created_at", "created": "created_at"}
_DEFAULT_PAGE_SIZE = 20
_MAX_PAGE_SIZE = 200


class ListQuery(BaseModel):
    """What every list route takes."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    page_token: str = ""
    page_size: int = 0
    sort_by: str = ""
    filter: str = ""
    experiment_id: str = ""


ListParameters = Annotated[ListQuery, Query()]


def list_page(
    store: Store,
    kind: str,
    query: ListQuery,
    *,
    show: Callable[[Document], Document],
    only: dict[str, str] | None = None,
) -> tuple[list[Document], dict[str, Any]]:
    """One page, and what stands beside it (`total_size`, `next_page_token`). only: fields with the value wanted."""
    conditions, values = _conditions_of(query.filter, kind)
    for name, value in (only or {}).items():
        conditions.append(f"{_column(name, kind)} = ?")
        values.append(value)
    where = " and ".join(conditions) or "1"
    offset = _parse_number(query.page_token or "0", "page_token")
    limit = min(query.page_size or _DEFAULT_PAGE_SIZE, _MAX_PAGE_SIZE)
    if query.page_size < 0:
        raise DataRejected(f"page_size is {query.page_size}; it must not be negative.")
    order_by = _order_of(query.sort_by, kind)
    found = store.select(kind, where=where, values=tuple(values), order_by=order_by, limit=limit, offset=offset)
    total_size = store.count(kind, where=where, values=tuple(values))
    beside: dict[str, Any] = {"total_size": total_size}
    if offset + len(found) < total_size:
        beside["next_page_token"] = str(offset + len(found))
    return [show(document) for document in found], beside


def _conditions_of(text: str, kind: str) -> tuple[list[str], list[Any]]:
    conditions: list[str] = []
    values: list[Any] = []
    for predicate in _predicates_of(text):
        column = _column(str(predicate.get("key", "")), kind)
        operation = _operation_of(predicate.get("operation", predicate.get("op")))
        value = _value_of(predicate)
        if str(predicate.get("key", "")).endswith("_at") and isinstance(value, str):
            value = time_text(parse_time(value))
        if operation == "IN":
            members = value.get("values", []) if isinstance(value, dict) else value
            if not isinstance(members, list):
                raise DataRejected("filter: IN needs a list of values, as in string_values: {values: [...]}.")
            conditions.append(f"{column} in ({', '.join('?' * len(members))})")
            values += members
        elif operation == "IS_SUBSTRING":
            conditions.append(f"instr(lower({column}), lower(?)) > 0")
            values.append(str(value))
        else:
            conditions.append(f"coalesce({column}, '') {_OPERATIONS[operation]}")
            values.append(value)
    return conditions, values


def _predicates_of(text: str) -> list[dict[str, Any]]:
    if not text:
        return []
    try:
        parsed = json.loads(text)
        predicates = parsed.get("predicates", [])
    except (ValueError, AttributeError):
        raise DataRejected(f"filter {text[:80]!r} is not JSON with a list of predicates.") from None
    if not isinstance(predicates, list) or not all(isinstance(predicate, dict) for predicate in predicates):
        raise DataRejected("filter: predicates must be a list of objects.")
    return predicates


def _operation_of(operation: Any) -> str:
    name = _NUMBERS.get(operation, "") if isinstance(operation, int) else str(operation or "").upper()
    if name.isdigit():
        name = _NUMBERS.get(int(name), "")
    if name not in _OPERATIONS:
        raise DataRejected(f"filter: the operation {operation!r} is not known; use one of {', '.join(_OPERATIONS)}.")
    return name


def _value_of(predicate: dict[str, Any]) -> Any:
    for key, value in predicate.items():
        if key.lower().replace("_", "") in _VALUE_KEYS:
            if isinstance(value, (str, int, float, list, dict)):
                return value
            raise DataRejected(f"filter: {key} must be a text, a number or a list, not {value!r}.")
    raise DataRejected("filter: a predicate has no value; give it a string_value, int_value or timestamp_value.")


def _column(name: str, kind: str) -> str:
    field = _ALIASES.get(name, name) or "id"
    if field in ("id", f"{kind}_id"):
        return "id"
    if field not in _FIELDS:
        raise DataRejected(f"cannot filter or sort by {name!r}; known: id, {', '.join(_FIELDS)}.")
    if field == "name":
        return "coalesce(json_extract(body, '$.name'), json_extract(body, '$.display_name'))"
    return "created_at" if field == "created_at" else f"json_extract(body, '$.{field}')"


def _order_of(sort_by: str, kind: str) -> str:
    name, _, direction = sort_by.strip().partition(" ")
    direction = direction.strip().lower() or "asc"
    if direction not in ("asc", "desc"):
        raise DataRejected(f"sort_by {sort_by!r}: the order is asc or desc.")
    return f"{_column(name or 'created_at', kind)} {direction}, rowid {direction}"


def _parse_number(text: str, what: str) -> int:
    if not text.isascii() or not text.isdigit():
        raise DataRejected(f"{what} {text!r} is not one that this server gave out.")
    return int(text)
