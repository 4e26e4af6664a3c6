"""Erase examples out of what was logged of requests, and out of the tables that past runs left behind.

Order, and why: first everything is searched and counted, then feedback is rewritten, and the payload log last: it alone
says which feedback is about an erased example. Each step finds nothing to do when it was done before.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from ratchet.core.errors import DataRejected, NotFound
from ratchet.core.labels.erasure import Scanned, Watch, page_without, rows_without
from ratchet.core.labels.schema import ExampleSchema
from ratchet.core.ports import RunTables
from ratchet.core.rollout.erased_lines import Cut, Erased, Place, answers_without, feedback_without
from ratchet.parallel import map_parallel
from ratchet.stores.request_logs import FeedbackFiles, PayloadFiles

_NO_LIST = "the tables `incoming` and `reference` of past runs: this KFP server does not list artifacts"


@dataclass(frozen=True)
class Logs:
    """Where requests are logged, and what runs left behind."""

    payloads: PayloadFiles
    feedback: FeedbackFiles
    tables: RunTables | None = None
    """None where no KFP is known."""


class FoundInLogs(NamedTuple):
    """Files that hold something of the erased examples, and how much."""

    payloads: Mapping[str, Cut]
    feedback: Mapping[str, Cut]
    places: frozenset[Place]

    @property
    def num_answers(self) -> int:
        return sum(cut.num_rows for cut in self.payloads.values())

    @property
    def num_feedback(self) -> int:
        return sum(cut.num_rows for cut in self.feedback.values())


def find_in_logs(logs: Logs, task: str, erased: Erased, schema: ExampleSchema, watch: Watch) -> FoundInLogs:
    """Look through every file of the task."""
    payloads = _search(logs.payloads, task, lambda data: answers_without(data, erased, schema), watch)
    places = frozenset(place for cut in payloads.values() for place in cut.places)
    feedback = _search(logs.feedback, task, lambda data: feedback_without(data, erased.ids, places), watch)
    return FoundInLogs(payloads, feedback, places)


def erase_from_logs(logs: Logs, erased: Erased, found: FoundInLogs, schema: ExampleSchema) -> None:
    for uri in found.feedback:
        if (cut := feedback_without(logs.feedback.fetch(uri), erased.ids, found.places)) is not None:
            logs.feedback.replace(uri, cut.data)
    for uri in found.payloads:
        if (cut := answers_without(logs.payloads.fetch(uri), erased, schema)) is not None:
            logs.payloads.replace(uri, cut.data)


def erase_from_run_tables(tables: RunTables, task: str, ids: frozenset[str], watch: Watch) -> Sequence[str]:
    """Rewrite those that hold one of the examples, and the pages that name one; what could not be searched, by name."""
    try:
        uris, pages = tables.list_tables(task), tables.list_pages(task)
    except NotFound:
        return (_NO_LIST,)
    return (
        *_rewrite(tables, uris, lambda data: _table_without(data, ids), "tables of past runs", watch),
        *_rewrite(tables, pages, lambda data: page_without(data, ids), "pages of past runs", watch),
    )


def _table_without(data: bytes, ids: frozenset[str]) -> bytes | None:
    removed = rows_without(data, ids)
    return None if removed is None else removed.data


def _rewrite(
    tables: RunTables, uris: Sequence[str], left: Callable[[bytes], bytes | None], what: str, watch: Watch
) -> Sequence[str]:
    """Put what is left in the place of each file that holds something; gives those that could not be searched."""
    unreadable = []
    for number, uri in enumerate(uris, 1):
        try:
            data = left(tables.fetch(uri))
            if data is not None:
                tables.replace(uri, data)
        except NotFound:
            pass  # its time was over
        except (DataRejected, OSError, ValueError):
            unreadable.append(uri)
        watch(Scanned(what, number, len(uris)))
    return unreadable


def _search(files: PayloadFiles, task: str, left: Callable[[bytes], Cut | None], watch: Watch) -> dict[str, Cut]:
    """What would be left of each file that holds something of it, without the bytes; oldest first."""
    found: dict[str, Cut] = {}
    num_read = 0
    for uris in files.list_parts(task):
        for uri, cut in zip(uris, map_parallel(lambda uri: left(files.fetch(uri)), uris), strict=True):
            if cut is not None:
                found[uri] = cut._replace(data=b"")
        num_read += len(uris)
        watch(Scanned(f"files of {files.layout}", num_read, num_read))
    return found
