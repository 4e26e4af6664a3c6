"""One DDP worker around `loop.train`: `torchrun --nproc-per-node=W … -m ratchet.training.worker JOB`; without torchrun
where it is the only one."""

import argparse
import logging
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist

from ratchet.processes import die_with_parent
from ratchet.training.failure import record_failure
from ratchet.training.job import TrainingJob
from ratchet.training.loop import train


def main() -> None:
    die_with_parent()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    parser = argparse.ArgumentParser(description="One DDP worker of a training job; start several with torchrun.")
    parser.add_argument("job", type=Path, help="the training job, a JSON file")
    job = TrainingJob.model_validate_json(parser.parse_args().job.read_bytes())
    torch.set_num_threads(job.spec.training.num_threads)
    torch.use_deterministic_algorithms(True)
    _meet_the_others()
    try:
        train(job, rank=dist.get_rank(), world_size=dist.get_world_size())
        dist.barrier()
    except BaseException as error:
        if not record_failure(error, job.failure_path, rank=dist.get_rank(), world_size=dist.get_world_size()):
            raise
    finally:
        dist.destroy_process_group()


def _meet_the_others() -> None:
    if dist.is_torchelastic_launched():
        # By default gloo waits 30 minutes for a worker that died.
        dist.init_process_group("gloo", timeout=timedelta(seconds=60))
    else:
        dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)


if __name__ == "__main__":
    main()
