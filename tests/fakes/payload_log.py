"""A payload log and a feedback store in memory; they pass tests/contract/test_payloads.py like the real ones."""

from collections.abc import Iterator, Sequence
from datetime import datetime

from ratchet.core.rollout.payloads import Feedback, Prediction


class FakePayloadLog:
    """Of one task, whatever its name. A prediction's time stands for the time of its PUT."""

    def __init__(self, predictions: Sequence[Prediction] = ()) -> None:
        self.predictions = list(predictions)

    def list_predictions(self, task: str, *, since: datetime, seen: set[str] | None = None) -> Iterator[Prediction]:
        return (prediction for prediction in self.predictions if prediction.at >= since)


class FakeFeedbackStore:
    def __init__(self) -> None:
        self._feedback: list[tuple[str, Feedback]] = []

    def append(self, task: str, feedback: Sequence[Feedback]) -> None:
        self._feedback += [(task, each) for each in feedback]

    def list_feedback(self, task: str, *, since: datetime, seen: set[str] | None = None) -> Iterator[Feedback]:
        return (each for of, each in self._feedback if of == task and each.at >= since)
