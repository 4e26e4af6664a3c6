"""Who runs the processes of a training."""

from pathlib import Path
from typing import Protocol


class Trainer(Protocol):
    def run(
        self, *, module: str, spec_path: Path, world_size: int, log_path: Path, failure_path: Path, timeout_s: float
    ) -> None:
        """Run a module as `world_size` workers to its end. Raises what a worker wrote to `failure_path`
        (`ratchet.training.failure`), which no retry mends; Unavailable when it ends otherwise, or too late."""
