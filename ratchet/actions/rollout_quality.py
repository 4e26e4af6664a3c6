"""What both revisions answered, read from the payload log and from feedback as it arrives."""

import logging
from collections.abc import Iterable
from datetime import timedelta
from itertools import chain

from ratchet.actions.clock import Clock
from ratchet.core.errors import RatchetError
from ratchet.core.payloads import Feedback, Prediction
from ratchet.core.ports import FeedbackStore, PayloadLog
from ratchet.core.rollout.quality import QualityJoin, join_answers
from ratchet.core.rollout.window import QualityWindow

logger = logging.getLogger(__name__)

_OVERLAP = timedelta(seconds=10)
"""Objects are dated by the end of their PUT and may show up later, so the last seconds are listed again; the join
counts nothing twice."""


class QualityFeed:
    """Both logs of one rollout, from the moment that it is made."""

    def __init__(
        self, payloads: PayloadLog | None, feedback: FeedbackStore | None, clock: Clock, *, task: str, join: QualityJoin
    ) -> None:
        self._payloads, self._feedback, self._clock, self._task = payloads, feedback, clock, task
        self._join = join
        self._since = join.began_at
        self._is_down = False

    def fetch(self) -> QualityWindow | None:
        """What became known since the last call; None when nothing did, or when it cannot be had: no error either."""
        asked_at = self._clock.now()
        try:
            predictions, feedback = list(self._list_predictions()), list(self._list_feedback())
        except RatchetError as error:
            if not self._is_down:
                logger.warning("%s: nothing is known of the answers' quality: %s", self._task, error)
            self._is_down = True
            return None
        self._is_down = False
        self._since = max(self._join.began_at, asked_at - _OVERLAP)
        self._join, window = join_answers(self._join, predictions, feedback)
        return window

    def _list_predictions(self) -> Iterable[Prediction]:
        return chain() if self._payloads is None else self._payloads.list_predictions(self._task, since=self._since)

    def _list_feedback(self) -> Iterable[Feedback]:
        return chain() if self._feedback is None else self._feedback.list_feedback(self._task, since=self._since)
