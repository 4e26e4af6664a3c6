"""Lists of the KFP API: filters, sorting and pages, as SQL over the columns of the stored documents.

A filter is JSON: `{"predicates": [{"operation", "key", "<type>_value"}]}`. The SDK sends the operation as a number,
people write its name, and value keys come in snake and in camel case.

A page token holds the filter, the order, and the last item that was shown: what comes or goes meanwhile moves nothing.
"""

import base64
from collections.abc import Callable
from typing import Annotated, Any, NamedTuple

from fastapi import Query
from pydantic import BaseModel, ConfigDict, Field

from embedded.control_plane.errors import DataRejected
from embedded.control_plane.kfp.store import Document, Store
from embedded.control_plane.kfp.wire import parse_time, time_text
from embedded.control_plane.sound_json import read_json

_OPERATIONS = {
    "EQUALS": "= ?",
    "NOT_EQUALS": "<> ?",
    "GREATER_THAN": "> ?",
    "GREATER_THAN_EQUALS": ">= ?",
    "LESS_THAN": "< ?",
    "LESS_THAN_EQUALS": "<= ?",
    "IN": "in",
    "IS_SUBSTRING": "instr",
}
_NUMBERS = {1: "EQUALS", 2: "NOT_EQUALS", 3: "GREATER_THAN", 5: "GREATER_THAN_EQUALS", 6: "LESS_THAN"}
_NUMBERS |= {7: "LESS_THAN_EQUALS", 8: "IN", 9: "IS_SUBSTRING"}
"""kfp.Client's numbering; 4 is not used."""
_VALUE_KEYS = ("stringvalue", "intvalue", "longvalue", "timestampvalue", "stringvalues", "intvalues", "longvalues")
_EVERYWHERE = ("id", "name", "display_name", "description", "created_at", "namespace")
_FIELDS = {
    "pipeline": ("pipeline_id",),
    "pipeline_version": ("pipeline_version_id", "pipeline_id"),
    "experiment": ("experiment_id", "storage_state", "last_run_created_at"),
    "run": (
        *("run_id", "experiment_id", "recurring_run_id", "pipeline_id", "pipeline_version_id"),
        *("state", "storage_state", "scheduled_at", "finished_at"),
    ),
    "recurring_run": (
        *("recurring_run_id", "experiment_id", "pipeline_id", "pipeline_version_id", "status", "updated_at"),
    ),
}
"""What each kind may be filtered and sorted by, besides `_EVERYWHERE`."""
_NAMED = ("pipeline", "pipeline_version")
"""Kinds with a name besides the display name."""
_ALIASES = {"createdAt": "created_at", "created": "created_at"}
_NUM_PREDICATES_MAX, _NUM_MEMBERS_MAX = 50, 500
"""Of a filter: SQLite takes 32,766 values in all."""
_DEFAULT_PAGE_SIZE = 20
_MAX_PAGE_SIZE = 200
"""Both as the real backend has them."""


class ListQuery(BaseModel):
    """What every list route takes."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    page_token: str = ""
    page_size: int = 0
    sort_by: str = ""
    filter: str = ""
    experiment_id: str = ""


ListParameters = Annotated[ListQuery, Query()]


class _Place(BaseModel):
    """Where a page ended; the content of a page token."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    sort_by: str
    filter: str
    key: str
    seq: int = Field(ge=0, lt=2**63)


class _Order(NamedTuple):
    column: str
    direction: str


def list_page(
    store: Store,
    kind: str,
    query: ListQuery,
    *,
    show: Callable[[Document], Document],
    only: dict[str, str] | None = None,
) -> tuple[list[Document], dict[str, Any]]:
    """One page, and what stands beside it (`total_size`, `next_page_token`). only: columns with the value wanted."""
    place = _place_of(query)
    sort_by, filter_ = (place.sort_by, place.filter) if place else (query.sort_by, query.filter)
    conditions, values = _conditions_of(filter_, kind)
    for column, wanted in (only or {}).items():
        conditions.append(f"{column} = ?")
        values.append(wanted)
    limit = _limit_of(query.page_size)
    order = _order_of(sort_by, kind)
    total_size = store.count(kind, where=" and ".join(conditions) or "1", values=tuple(values))
    if place:
        conditions.append(f"({order.column}, seq) {'>' if order.direction == 'asc' else '<'} (?, ?)")
        values += [place.key, place.seq]
    found = store.page(
        kind,
        where=" and ".join(conditions) or "1",
        values=tuple(values),
        column=order.column,
        direction=order.direction,
        # One more than is shown tells whether another page follows.
        limit=limit + 1,
    )
    beside: dict[str, Any] = {"total_size": total_size}
    if len(found) > limit:
        _, key, seq = found[limit - 1]
        beside["next_page_token"] = _token_of(_Place(sort_by=sort_by, filter=filter_, key=key, seq=seq))
    return [show(document) for document, _, _ in found[:limit]], beside


def _limit_of(page_size: int) -> int:
    if page_size < 0:
        raise DataRejected(f"page_size is {page_size}; it must not be negative.")
    return min(page_size or _DEFAULT_PAGE_SIZE, _MAX_PAGE_SIZE)


def _token_of(place: _Place) -> str:
    return base64.urlsafe_b64encode(place.model_dump_json().encode()).decode().rstrip("=")


def _place_of(query: ListQuery) -> _Place | None:
    """DataRejected when the token is not ours, or of another list."""
    if not query.page_token:
        return None
    padded = query.page_token + "=" * (-len(query.page_token) % 4)
    try:
        # urlsafe_b64decode would skip what is no base64, and take a damaged token for a good one.
        place = _Place.model_validate_json(base64.b64decode(padded, altchars=b"-_", validate=True))
    except ValueError:
        raise DataRejected(
            f"page_token {query.page_token[:80]!r} was not issued by this server. Start again without it."
        ) from None
    for name in ("sort_by", "filter"):
        asked = getattr(query, name)
        if asked and asked != getattr(place, name):
            raise DataRejected(f"page_token belongs to a list with another {name}. Start again without it.")
    return place


def _conditions_of(text: str, kind: str) -> tuple[list[str], list[Any]]:
    conditions: list[str] = []
    values: list[Any] = []
    for predicate in _predicates_of(text):
        column = _column(str(predicate.get("key", "")), kind)
        operation = _operation_of(predicate.get("operation", predicate.get("op")))
        value = _value_of(predicate)
        if operation == "IN":
            members = value.get("values", []) if isinstance(value, dict) else value
            if not isinstance(members, list):
                raise DataRejected("filter: IN needs a list of values, as in string_values: {values: [...]}.")
            if len(members) > _NUM_MEMBERS_MAX:
                raise DataRejected(
                    f"filter: IN has {len(members)} values; the limit is {_NUM_MEMBERS_MAX}. Ask in parts."
                )
            conditions.append(f"{column} in ({', '.join('?' * len(members))})")
            values += [_plain(member, column) for member in members]
        elif operation == "IS_SUBSTRING":
            conditions.append(f"instr(lower({column}), lower(?)) > 0")
            values.append(str(_plain(value, "")))
        else:
            conditions.append(f"{column} {_OPERATIONS[operation]}")
            values.append(_plain(value, column))
    return conditions, values


def _plain(value: Any, column: str) -> str:
    """As the column has it: columns are texts, and times in them sort as texts."""
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        raise DataRejected(f"filter: {value!r} is neither a text nor a number. Only IN takes a list.")
    text = str(value)
    return time_text(parse_time(text)) if column.endswith("_at") and text else text


def _predicates_of(text: str) -> list[dict[str, Any]]:
    if not text:
        return []
    parsed = read_json(text.encode(errors="surrogatepass"), what="filter")
    predicates = parsed.get("predicates", []) if isinstance(parsed, dict) else None
    if not isinstance(predicates, list) or not all(isinstance(predicate, dict) for predicate in predicates):
        raise DataRejected("filter: expected JSON with `predicates`, a list of objects.")
    if len(predicates) > _NUM_PREDICATES_MAX:
        raise DataRejected(f"filter: {len(predicates)} predicates; the limit is {_NUM_PREDICATES_MAX}.")
    return predicates


def _operation_of(operation: Any) -> str:
    name = _NUMBERS.get(operation, "") if isinstance(operation, int) else str(operation or "").upper()
    if name.isascii() and name.isdigit() and len(name) < 3:
        name = _NUMBERS.get(int(name), "")
    if name not in _OPERATIONS:
        raise DataRejected(f"filter: the operation {operation!r} is not known; use one of {', '.join(_OPERATIONS)}.")
    return name


def _value_of(predicate: dict[str, Any]) -> Any:
    for key, value in predicate.items():
        if key.lower().replace("_", "") in _VALUE_KEYS:
            return value
    raise DataRejected("filter: a predicate has no value; give it a string_value, int_value or timestamp_value.")


def _column(name: str, kind: str) -> str:
    field = _ALIASES.get(name, name)
    known = (*_EVERYWHERE, *_FIELDS[kind])
    if field not in known:
        raise DataRejected(f"cannot filter or sort a {kind} by {name!r}; known: {', '.join(known)}.")
    if field == "name" and kind not in _NAMED:
        return "display_name"
    return "id" if field == f"{kind}_id" else field


def _order_of(sort_by: str, kind: str) -> _Order:
    name, _, direction = sort_by.strip().partition(" ")
    direction = direction.strip().lower() or "asc"
    if direction not in ("asc", "desc"):
        raise DataRejected(f"sort_by {sort_by!r}: the order is asc or desc.")
    return _Order(_column(name or "created_at", kind), direction)
