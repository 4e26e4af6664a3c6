"""Something that may take long, done in a thread of its own, so that it never holds up what keeps users safe."""

import logging
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Generic, TypeVar

from ratchet.core.errors import Unavailable

log = logging.getLogger(__name__)
Answer = TypeVar("Answer")


class Errand(Generic[Answer]):
    """One piece of work, again and again, at most once at a time."""

    def __init__(self, work: Callable[[], Answer], *, name: str) -> None:
        self._work, self._name = work, name
        self._threads = ThreadPoolExecutor(max_workers=1, thread_name_prefix=name)
        self._under_way: Future[Answer] | None = None

    def ask(self, *, wait_s: float) -> Answer | None:
        """Begin unless it is under way, and wait this long; None while it goes on, or when a server stays away.

        Any other error of the work is raised here.
        """
        if self._under_way is None:
            self._under_way = self._threads.submit(self._work)
        done, _ = wait([self._under_way], timeout=wait_s)
        if not done:
            return None
        ended, self._under_way = self._under_way, None
        try:
            return ended.result()
        except Unavailable as error:
            log.warning("%s: %s", self._name, error)
            return None

    def close(self) -> None:
        """What is under way ends by itself: every request of an adapter is bounded."""
        self._threads.shutdown(wait=False)
