"""How far the training of a run is, while it goes on: `s3://ratchet/progress/<run id>.json`.

Written over every few seconds, and removed when the training or its run ends. No decision reads it.
"""

from dataclasses import dataclass
from typing import ClassVar

from pydantic import ValidationError

from ratchet.core.errors import NotFound
from ratchet.core.layouts import Layout
from ratchet.core.models.training_progress import TrainingProgress
from ratchet.stores.layout import Store


@dataclass(frozen=True)
class RunProgress(Store):
    """Of one run."""

    layout: ClassVar[Layout] = "progress"
    run_id: str

    def put(self, progress: TrainingProgress) -> None:
        self.objects.put(self.uri, progress.model_dump_json().encode())

    def fetch(self) -> TrainingProgress | None:
        """None while nothing is trained, and of what cannot be read."""
        try:
            return TrainingProgress.model_validate_json(self.objects.fetch(self.uri))
        except (NotFound, ValidationError):
            return None

    def forget(self) -> None:
        """Nothing happens when there is none."""
        self.objects.delete(self.uri)

    @property
    def uri(self) -> str:
        return self._uri(f"{self.run_id}.json")
