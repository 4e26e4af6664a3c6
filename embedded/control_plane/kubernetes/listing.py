"""Lists in pages. All pages of one list show the same moment, however much changes between them."""

import base64
import itertools
import json
from collections import OrderedDict
from typing import Any, NamedTuple

from embedded.control_plane.kubernetes.errors import ApiError, bad_request
from embedded.control_plane.kubernetes.journal import Journal

_NUM_SNAPSHOTS_MAX = 32
"""Lists that clients are paging through at the same time; the oldest is given up first, and 410 tells its reader."""

Object = dict[str, Any]


class Page(NamedTuple):
    items: list[Object]
    metadata: dict[str, Any]
    """Of the list: `resourceVersion`, `continue` and, when more follows, `remainingItemCount`."""


class Pages:
    """Snapshots of lists that were too long for one page; in memory, so a restart ends them."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._snapshots: OrderedDict[int, tuple[int, str, list[Object]]] = OrderedDict()
        self._numbers = itertools.count(1)

    def first(self, items: list[Object], *, query: str, limit: int | None) -> Page:
        """`query` says what was asked for: a token is good for the same question only."""
        version = self._journal.current()
        if not limit or len(items) <= limit:
            return Page(items, _metadata(version))
        number = next(self._numbers)
        self._snapshots[number] = (version, query, items)
        while len(self._snapshots) > _NUM_SNAPSHOTS_MAX:
            self._snapshots.popitem(last=False)
        return self._page(number, start=0, limit=limit)

    def following(self, token: str, *, query: str, limit: int | None) -> Page:
        number, start = _parse_token(token)
        found = self._snapshots.get(number)
        if found is None or found[0] < self._journal.floor():
            text = "The provided continue parameter is too old to display a consistent list result. List from the start"
            raise ApiError(410, "Expired", text)
        if found[1] != query or not 0 <= start < len(found[2]):
            raise bad_request("continue is for another list than this one; use the same path and selectors")
        return self._page(number, start=start, limit=limit or len(found[2]))

    def _page(self, number: int, *, start: int, limit: int) -> Page:
        version, _, items = self._snapshots[number]
        end = start + limit
        if end >= len(items):
            return Page(items[start:], _metadata(version))
        token = base64.urlsafe_b64encode(json.dumps([number, end]).encode()).decode()
        more = {"continue": token, "remainingItemCount": len(items) - end}
        return Page(items[start:end], _metadata(version) | more)


def _metadata(version: int) -> dict[str, Any]:
    return {"resourceVersion": str(version), "continue": ""}


def _parse_token(token: str) -> tuple[int, int]:
    try:
        number, start = json.loads(base64.urlsafe_b64decode(token.encode()))
        return int(number), int(start)
    except (ValueError, TypeError):
        raise bad_request("continue is not a token that this server gave") from None


def check_version(asked: int | None, match: str, *, current: int) -> None:
    """`resourceVersion` and `resourceVersionMatch` of a list: only the present can be listed."""
    if match not in {"", "Exact", "NotOlderThan"} or (match and asked is None):
        raise bad_request(f"resourceVersionMatch={match} needs a resourceVersion, and is Exact or NotOlderThan")
    if asked is not None and asked > current:
        causes = [{"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}]
        text = f"Too large resource version: {asked}, current: {current}"
        raise ApiError(504, "Timeout", text, details={"causes": causes, "retryAfterSeconds": 1})
    if match == "Exact" and asked != current:
        raise ApiError(410, "Expired", f"The resourceVersion for the provided list is too old: {asked}")
