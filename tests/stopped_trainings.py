"""`python -m tests.stopped_trainings JOBS` under torchrun: each job, with a stop after each eight steps where its
folder is called `stopped`. All in one start of the workers, which is most of the time."""

import sys
from pathlib import Path

import torch
import torch.distributed as dist

from ratchet.processes import die_with_parent
from ratchet.training.job import TrainingJob
from ratchet.training.loop import train
from ratchet.training.meeting import meet_the_others
from ratchet.training.stopping import TrainingStopped

EVERY = 8
"""Of 24 steps: within each of two epochs, and at the end."""


def main() -> None:
    die_with_parent()
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    meet_the_others()
    for line in Path(sys.argv[1]).read_text().splitlines():
        job = TrainingJob.model_validate_json(line)
        num_stops = train_on(job)
        if dist.get_rank() == 0:
            job.model_path.with_name("stops").write_text(str(num_stops))
    dist.destroy_process_group()


def train_on(job: TrainingJob) -> int:
    """To the end; gives the number of stops."""
    for num_stops in range(100):
        looks = iter(range(1, 1_000))
        is_stopped = job.model_path.parent.name == "stopped"
        try:
            train(
                job,
                rank=dist.get_rank(),
                world_size=dist.get_world_size(),
                is_stopping=lambda looks=looks, is_stopped=is_stopped: is_stopped and next(looks) == EVERY,  # type: ignore[misc]
            )
            return num_stops
        except TrainingStopped:
            continue
    raise AssertionError("it made no progress")


if __name__ == "__main__":
    main()
