"""Training on the machine or pod that the step runs in, by as many processes as there are workers."""

from pathlib import Path

from ratchet.adapters.child_process import ChildProcessTrainer
from ratchet.adapters.torchrun import TorchrunTrainer


class LocalTrainer:
    """Implements ports.Trainer. One worker needs no torchrun, which loads torch once more: 3 s."""

    def run(
        self, *, module: str, spec_path: Path, world_size: int, log_path: Path, failure_path: Path, timeout_s: float
    ) -> None:
        trainer = ChildProcessTrainer() if world_size == 1 else TorchrunTrainer()
        trainer.run(
            module=module,
            spec_path=spec_path,
            world_size=world_size,
            log_path=log_path,
            failure_path=failure_path,
            timeout_s=timeout_s,
        )
