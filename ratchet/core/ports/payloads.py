"""What was asked and answered, and what turned out to be true."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Protocol

from ratchet.core.rollout.payloads import Feedback, Prediction


class PayloadLog(Protocol):
    """What the model servers answered, sampled. Raises Unavailable."""

    def list_predictions(self, task: str, *, since: datetime, seen: set[str] | None = None) -> Iterator[Prediction]:
        """Those whose object was put at or after `since`, about in order of time: O(new). Broken lines are skipped.

        seen: names of the objects that were read; those are not read again, and what is read now is added.
        """


class FeedbackStore(Protocol):
    """True labels that arrived after the prediction."""

    def append(self, task: str, feedback: Sequence[Feedback]) -> None:
        """One object for them all; returns when it is stored."""

    def list_feedback(self, task: str, *, since: datetime, seen: set[str] | None = None) -> Iterator[Feedback]:
        """Those whose object was put at or after `since`, about in order of time: O(new). `seen` as above."""
