"""Watches: each change after a given version once, in order, as a stream of JSON lines."""

import asyncio
import json
import random
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict

from embedded.control_plane.kubernetes.errors import ApiError
from embedded.control_plane.kubernetes.journal import Change, Journal
from embedded.control_plane.kubernetes.kinds import ObjectKind

_BOOKMARK_EVERY_S = 60.0
"""As Kubernetes has it: a client that comes back asks for less."""
_DEFAULT_TIMEOUT_S = 1800
"""Kubernetes ends a watch after 30 to 60 minutes, at random, so that not all clients come back at once."""
_INITIAL_EVENTS_END = "k8s.io/initial-events-end"

Object = dict[str, Any]
Chooser = Callable[[Mapping[str, Any], Mapping[str, str]], bool]
"""Whether an object, with these labels, is watched. The labels come apart: they may be those of before the change."""


class WatchOptions(BaseModel):
    """`since` None or 0: begin with what there is now, as ADDED."""

    model_config = ConfigDict(frozen=True)

    kind: ObjectKind
    since: int | None = None
    timeout_s: float | None = None
    wants_bookmarks: bool = False
    sends_initial: bool = False


class Watcher:
    """One watch: where it stands, and what it sends next. `render(object, is_first)` gives an object its form."""

    def __init__(
        self,
        journal: Journal,
        options: WatchOptions,
        *,
        list_now: Callable[[], Iterable[Object]],
        is_chosen: Chooser,
        render: Callable[[Object, bool], Object],
    ) -> None:
        self._journal = journal
        self._options = options
        self._list_now = list_now
        self._is_chosen = is_chosen
        self._render = render
        self._seen = 0
        self._is_first = True
        self._is_refused = False

    async def lines(self) -> AsyncIterator[str]:
        """`{"type", "object"}` until the time is over, or until the client has to list again."""
        loop = asyncio.get_running_loop()
        lasting_s = _DEFAULT_TIMEOUT_S * random.uniform(1, 2)  # noqa: S311 - no secret
        deadline = loop.time() + (self._options.timeout_s or lasting_s)
        with self._journal.watching() as changed:
            for line in self._begin():
                yield line
            while not self._is_refused:
                changed.clear()
                for line in self._news():
                    yield line
                if not changed.is_set():  # no change of any kind came in while these lines were sent
                    self._seen = max(self._seen, self._journal.current())
                is_over = loop.time() >= deadline or self._is_refused
                was_idle = not is_over and not await _wait(changed, deadline) and loop.time() < deadline
                if (is_over or was_idle) and self._options.wants_bookmarks and not self._is_refused:
                    yield self._bookmark(_bookmark(self._options.kind, self._seen))
                if is_over:
                    return

    def _begin(self) -> Iterator[str]:
        """What there is, when the client does not know it yet."""
        since = self._options.since
        self._seen = since or self._journal.current()
        if since and not self._options.sends_initial:
            return
        self._seen = self._journal.current()
        for found in self._list_now():
            if self._is_chosen(found, labels_of(found)):
                yield self._event("ADDED", found)
        if self._options.sends_initial and self._options.wants_bookmarks:
            yield self._bookmark(_bookmark(self._options.kind, self._seen, is_initial_end=True))

    def _news(self) -> Iterator[str]:
        if refusal := _refusal_of(
            self._journal, self._seen
        ):  # too old, or the client reads so slowly that it became so
            self._is_refused = True
            yield _line("ERROR", refusal.as_status())
            return
        for change in self._journal.list_after(self._seen, self._options.kind.plural):
            self._seen = change.resource_version
            if kind := _type_for(change, self._is_chosen):
                yield self._event(kind, change.object)

    def _bookmark(self, found: Object) -> str:
        """In the form that the watch has: a client that reads Tables decodes nothing else.

        Source: k8s.io/apiserver pkg/endpoints/handlers/response.go (`doTransformObject`).
        """
        return self._event("BOOKMARK", found)

    def _event(self, kind: str, found: Object) -> str:
        line = _line(kind, self._render(found, self._is_first))
        self._is_first = False
        return line


async def _wait(changed: asyncio.Event, deadline: float) -> bool:
    """For a change, no longer than to the deadline or the next bookmark. Whether there was a change."""
    try:
        async with asyncio.timeout(min(_BOOKMARK_EVERY_S, max(0.0, deadline - asyncio.get_running_loop().time()))):
            await changed.wait()
    except TimeoutError:
        return False
    return True


def _refusal_of(journal: Journal, since: int) -> ApiError | None:
    """A version from before the history, or from a future that can only be another store's: list again."""
    if since < journal.floor():
        return ApiError(410, "Expired", f"too old resource version: {since} ({journal.floor()})")
    if since > journal.current():
        return ApiError(410, "Expired", f"unknown resource version: {since}; the newest is {journal.current()}")
    return None


def _type_for(change: Change, is_chosen: Chooser) -> str:
    """What the change is to this watch: an object that comes into its selection is ADDED, one that leaves DELETED."""
    is_now = is_chosen(change.object, labels_of(change.object))
    if change.type != "MODIFIED":
        return change.type if is_now else ""
    was = is_now if change.labels_before is None else is_chosen(change.object, change.labels_before)
    if is_now:
        return "MODIFIED" if was else "ADDED"
    return "DELETED" if was else ""


def labels_of(found: Mapping[str, Any]) -> Mapping[str, str]:
    return found["metadata"].get("labels") or {}


def _bookmark(kind: ObjectKind, version: int, *, is_initial_end: bool = False) -> Object:
    metadata: dict[str, Any] = {"resourceVersion": str(version), "creationTimestamp": None}
    if is_initial_end:
        metadata["annotations"] = {_INITIAL_EVENTS_END: "true"}
    return {"apiVersion": kind.api_version, "kind": kind.kind, "metadata": metadata}


def _line(kind: str, found: Mapping[str, Any]) -> str:
    return json.dumps({"type": kind, "object": found}, separators=(",", ":")) + "\n"
