"""What all parts of one worker's training share."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import torch

from ratchet.tasks.bound import TorchTask
from ratchet.tasks.training_spec import TrainingSpec
from ratchet.training.data import StepBatch, batches_of, num_batches_of
from ratchet.training.job import TrainingJob
from ratchet.training.progress import LiveProgress, Stopwatch

CPU = torch.device("cpu")


@dataclass(frozen=True)
class Rows:
    """Encoded inputs (N, ...) and their labels (`labels_of`)."""

    inputs: torch.Tensor
    labels: torch.Tensor

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class Run:
    """One worker of a training."""

    job: TrainingJob
    task: TorchTask
    rows: Rows
    val_rows: Rows
    rank: int
    world_size: int
    live: LiveProgress = field(default_factory=lambda: LiveProgress(None))
    waiting: Stopwatch = field(default_factory=Stopwatch)
    """For the rows of its batches."""
    device: torch.device = CPU
    """Of the network. All rows stay in the CPU's memory; a batch goes to the device when it is its turn."""

    @property
    def training(self) -> TrainingSpec:
        return self.job.spec.training

    @property
    def num_steps(self) -> int:
        """Of an epoch."""
        return num_batches_of(len(self.rows), batch_size=self.training.batch_size, world_size=self.world_size)

    def to_device(self, tensor: torch.Tensor) -> torch.Tensor:
        return tensor.to(self.device, non_blocking=True)

    def batches(self, epoch: int) -> Iterator[StepBatch]:
        """This worker's part of each."""
        training = self.training
        return batches_of(
            len(self.rows),
            epoch=epoch,
            seed=training.seed,
            batch_size=training.batch_size,
            rank=self.rank,
            world_size=self.world_size,
        )
