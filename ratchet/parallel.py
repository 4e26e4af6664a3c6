"""Many requests to one server at a time: the one place that says how many."""

from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Answer = TypeVar("Answer")
NUM_AT_ONCE = 8
"""Half of the connections that the S3 client holds (16), so that two such maps at a time wait for no connection."""


def map_parallel(ask: Callable[[Item], Answer], items: Collection[Item]) -> list[Answer]:
    """The answers in the order of the items; the first error is raised once what was begun has ended."""
    if not items:
        return []
    with ThreadPoolExecutor(min(NUM_AT_ONCE, len(items))) as threads:
        return list(threads.map(ask, items))
