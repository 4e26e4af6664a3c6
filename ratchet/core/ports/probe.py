"""A model asked in a real model server, away from traffic."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol


class ModelProbe(Protocol):
    def fetch_answers(self, model_path: Path, features: Sequence[Sequence[float]]) -> Sequence[str]:
        """The class of each row of raw features, answered by a real model server; DataRejected when it cannot."""
