"""What both revisions answered, read from the payload log and from feedback as it arrives."""

import logging
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import datetime, timedelta

from ratchet.core.errors import RatchetError
from ratchet.core.ports import Clock, FeedbackStore, PayloadLog
from ratchet.core.rollout.payloads import Feedback, Prediction
from ratchet.core.rollout.quality import Comparable, QualityJoin, join_answers
from ratchet.core.rollout.window import QualityWindow

log = logging.getLogger(__name__)

_OVERLAP = timedelta(seconds=30)
"""Objects are dated by the beginning of their PUT, on the server's clock, and show up at its end: so the last seconds
are listed again, but no object is read twice."""
_BEHIND_MAX = timedelta(seconds=120)
"""What is older when it can be read at last is left out: an hour of answers at once would not fit into memory."""


class QualityFeed:
    """Both logs of one rollout, from the moment that it is made.

    find_comparable: asked once for `QualityJoin.on`, before anything is compared.
    """

    def __init__(
        self,
        payloads: PayloadLog | None,
        feedback: FeedbackStore | None,
        clock: Clock,
        *,
        task: str,
        join: QualityJoin,
        find_comparable: Callable[[], Comparable] | None = None,
    ) -> None:
        self._find_comparable = find_comparable
        self._payloads, self._feedback, self._clock, self._task = payloads, feedback, clock, task
        self._join = join
        self._since = join.began_at
        self._seen: set[str] = set()
        """Names of the objects that were read: 2 a second."""
        self._is_down = False

    def fetch(self) -> QualityWindow | None:
        """What became known since the last call; None when nothing did, or when it cannot be had: no error either."""
        asked_at, seen = self._clock.now(), set(self._seen)
        since = max(self._since, asked_at - _BEHIND_MAX)
        try:
            self._fix_comparable()
            predictions = list(self._list_predictions(since, seen))
            feedback = list(self._list_feedback(since, seen))
        except RatchetError as error:
            if not self._is_down:
                log.warning("%s: the quality of the answers is unknown: %s", self._task, error)
            self._is_down = True
            return None
        self._is_down, self._seen = False, seen
        self._since = max(self._join.began_at, asked_at - _OVERLAP)
        self._join, window = join_answers(self._join, predictions, feedback)
        return window

    def _fix_comparable(self) -> None:
        if self._find_comparable is not None:
            self._join = replace(self._join, on=self._find_comparable())
            self._find_comparable = None
            if (common := self._join.on.common_classes) is not None:
                told = ", ".join(sorted(common)) or "none"
                log.info("%s: the revisions know different classes; compared on the common ones: %s", self._task, told)

    def _list_predictions(self, since: datetime, seen: set[str]) -> Iterable[Prediction]:
        return () if self._payloads is None else self._payloads.list_predictions(self._task, since=since, seen=seen)

    def _list_feedback(self, since: datetime, seen: set[str]) -> Iterable[Feedback]:
        return () if self._feedback is None else self._feedback.list_feedback(self._task, since=since, seen=seen)
