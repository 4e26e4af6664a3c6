"""Something that may take long, done in a thread of its own, so that it never holds up what keeps users safe."""

import logging
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

from ratchet.core.errors import Unavailable

logger = logging.getLogger(__name__)
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
        try:
            answer = self._under_way.result(timeout=wait_s)
        except TimeoutError:
            return None
        except Unavailable as error:
            logger.warning("%s: %s", self._name, error)
            self._under_way = None
            return None
        except BaseException:
            self._under_way = None
            raise
        self._under_way = None
        return answer

    def close(self) -> None:
        """What is under way ends by itself: every request of an adapter is bounded."""
        self._threads.shutdown(wait=False)
