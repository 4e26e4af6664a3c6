"""One worker's checkpoints: when one is made, at which all workers agree, and how a training goes on from one."""

import logging
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import torch.distributed as dist

from ratchet.training.checkpoint import (
    HISTORY,
    TrainingState,
    WithinEpoch,
    goes_with,
    restore_checkpoint,
    save_checkpoint,
)
from ratchet.training.checkpoint_places import Place, newest_checkpoint
from ratchet.training.randomness import gather_random_states
from ratchet.training.running import Run
from ratchet.training.step import Wishes
from ratchet.training.stopping import TrainingStopped

log = logging.getLogger(__name__)


class Checkpoints:
    """Of one worker of a training."""

    def __init__(self, run: Run, is_stopping: Callable[[], bool]) -> None:
        """is_stopping: whether this worker was asked to end."""
        self._run, self._is_stopping = run, is_stopping
        self._newest: tuple[Place, Path] | None = None
        self._made_at = time.monotonic()

    def find(self, state: TrainingState) -> Place:
        """Where the training goes on: at the newest checkpoint, if it goes with what no step changes."""
        found = newest_checkpoint(self._run.job.checkpoint_dir)
        if found is not None and not goes_with(found[1], state.fixed):
            log.warning("the checkpoint of %s is not taken: the frozen weights were others", found[0])
            found = None
        self._newest = found
        return Place(0) if found is None else found[0]

    def restore(self, state: TrainingState) -> WithinEpoch | None:
        """Put the state of the place that was found into this one, and its history where it belongs."""
        history_path, is_first = self._run.job.history_path, self._run.rank == 0
        if self._newest is None:
            if is_first:
                history_path.write_text("")
            return None
        folder = self._newest[1]
        within = restore_checkpoint(state, folder)
        if is_first:
            # A line may be there of an epoch that was recorded and then lost; it comes again.
            shutil.copyfile(folder / HISTORY, history_path)
        return within

    def wishes(self, place: Place) -> Wishes:
        """What this worker asks for after the step that leads to `place`. Worker 0 has the clock."""
        training, is_due = self._run.training, False
        if self._run.rank == 0:
            every_s, every_steps = training.checkpoint_every_s, training.checkpoint_every_steps
            is_due = every_s is not None and time.monotonic() - self._made_at >= every_s
            num_steps = place.epoch * self._run.num_steps + place.step
            is_due = is_due or (every_steps is not None and num_steps % every_steps == 0)
        return Wishes(checkpoint=is_due, stop=self._is_stopping())

    def grant(self, wishes: Wishes, state: TrainingState, place: Place, losses: list[float]) -> None:
        """What any worker wished after a step. TrainingStopped when it was to end. losses: of the epoch's steps."""
        if not wishes.stop and (not wishes.checkpoint or place.step == self._run.num_steps):
            return  # the epoch's own checkpoint follows
        random_WN = gather_random_states(rank=self._run.rank, world_size=self._run.world_size, device=self._run.device)
        self.save(state, place, None if random_WN is None else WithinEpoch(losses, random_WN))
        if wishes.stop:
            dist.barrier()  # nobody says that it is written before it is
            num_epochs = self._run.training.num_epochs
            raise TrainingStopped(
                f"it was asked to end by SIGTERM, and did after {place} of {num_epochs}. A checkpoint is written; the "
                "next attempt goes on there."
            )

    def save(self, state: TrainingState, place: Place, within: WithinEpoch | None = None) -> None:
        """By worker 0, for all. A collective."""
        self._made_at = time.monotonic()
        job, rank = self._run.job, self._run.rank
        if state.power_sgd is not None:
            state.power_sgd_kept = state.power_sgd.gather(rank=rank, world_size=self._run.world_size)
        if rank == 0:
            save_checkpoint(
                state,
                job.checkpoint_dir,
                place=place,
                history_path=job.history_path,
                choice_path=job.choice_path,
                within=within,
            )
