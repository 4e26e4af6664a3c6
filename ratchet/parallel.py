"""Many requests to one server at a time: the one place that says how many."""

from collections.abc import Callable, Collection, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from ratchet.core.ports import StoredObject

Item = TypeVar("Item")
Answer = TypeVar("Answer")
NUM_AT_ONCE = 8
"""Half of the connections that the S3 client holds (16), so that two such maps at a time wait for no connection."""
_NUM_AHEAD = 64
_BYTES_AHEAD = 64 << 20
"""Objects that are fetched at once: a server writes one a second, and a day holds 86,400. One is always fetched."""


def map_parallel(ask: Callable[[Item], Answer], items: Collection[Item]) -> list[Answer]:
    """The answers in the order of the items; the first error is raised once what was begun has ended."""
    if not items:
        return []
    with ThreadPoolExecutor(min(NUM_AT_ONCE, len(items))) as threads:
        return list(threads.map(ask, items))


def in_parts(stored: Iterable[StoredObject]) -> Iterator[list[str]]:
    """URIs in order, by as many as may be in memory together."""
    part: list[str] = []
    num_bytes = 0
    for each in stored:
        if part and (len(part) == _NUM_AHEAD or num_bytes + each.size_bytes > _BYTES_AHEAD):
            yield part
            part, num_bytes = [], 0
        part.append(each.uri)
        num_bytes += each.size_bytes
    if part:
        yield part
