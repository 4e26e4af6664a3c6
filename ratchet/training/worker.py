"""One DDP worker around `loop.train`: `torchrun --nproc-per-node=W … -m ratchet.training.worker JOB`; without torchrun
where it is the only one."""

import argparse
import logging
import signal
from functools import partial
from pathlib import Path

import torch
import torch.distributed as dist

from ratchet.core.errors import Unavailable
from ratchet.processes import die_with_parent
from ratchet.training.devices import take_device
from ratchet.training.failure import is_lost_peer, record_failure, record_stop
from ratchet.training.job import TrainingJob
from ratchet.training.loop import train
from ratchet.training.meeting import meet_the_others
from ratchet.training.roll import Roll
from ratchet.training.stopping import GRACE_S, StopRequest, TrainingStopped, stop_path_of


def main() -> None:
    die_with_parent()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    parser = argparse.ArgumentParser(description="One DDP worker of a training job; start several with torchrun.")
    parser.add_argument("job", type=Path, help="the training job, a JSON file")
    job = TrainingJob.model_validate_json(parser.parse_args().job.read_bytes())
    torch.set_num_threads(job.spec.training.num_threads)
    torch.use_deterministic_algorithms(True)
    plan = take_device(job.spec.training)
    meet_the_others(plan.backend)
    rank, world_size, stop_path = dist.get_rank(), dist.get_world_size(), stop_path_of(job.failure_path)
    roll = Roll(job.failure_path.with_name("workers"), rank=rank, world_size=world_size)
    roll.sign_in()
    # The alarm ends a worker that made no step since, as one that still reads its rows.
    with StopRequest(partial(signal.alarm, GRACE_S)).listening() as request:
        try:
            train(
                job,
                rank=rank,
                world_size=world_size,
                is_stopping=lambda: _is_stopping(request, stop_path),
                device=torch.device(plan.device),
            )
            dist.barrier()
        except TrainingStopped as stopped:
            record_stop(str(stopped), job.failure_path)
        except BaseException as error:
            if not record_failure(error, job.failure_path, rank=rank, world_size=world_size):
                if world_size > 1 and is_lost_peer(error):
                    raise Unavailable(roll.lost_words()) from error
                raise
        finally:
            dist.destroy_process_group()


def _is_stopping(request: StopRequest, stop_path: Path) -> bool:
    return request.made_at is not None or stop_path.exists()


if __name__ == "__main__":
    main()
