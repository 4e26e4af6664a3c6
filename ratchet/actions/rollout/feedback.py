"""Take feedback in, and measure with it how often the models were right in production."""

from collections.abc import Sequence
from datetime import datetime

from ratchet.core.errors import DataRejected
from ratchet.core.ports import FeedbackStore, PayloadLog
from ratchet.core.rollout.feedback import ITEMS_MAX, JoinedFeedback, join_feedback
from ratchet.core.rollout.payloads import Feedback


def accept_feedback(store: FeedbackStore, task: str, items: Sequence[Feedback]) -> int:
    """Keep the items of one request, all or none; gives their number. Returns when they are stored.

    The same items once more do no harm: of several on one instance the last counts.
    """
    if len(items) > ITEMS_MAX:
        raise DataRejected(f"{len(items)} items of feedback; the limit is {ITEMS_MAX} at once. Send them in parts.")
    store.append(task, items)
    return len(items)


def measure_accuracy(
    payloads: PayloadLog, feedback: FeedbackStore, task: str, *, since: datetime, tolerance: float | None = None
) -> JoinedFeedback:
    """How often each model was right on the requests that were logged since then and have feedback by now.

    tolerance: of the task's output, where that is a number.
    """
    items = list(feedback.list_feedback(task, since=since))
    predictions = payloads.list_predictions(task, since=since) if items else ()
    return join_feedback(predictions, items, tolerance=tolerance)
