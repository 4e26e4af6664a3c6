"""How long a step of a training takes, for each of several ways in which the gradients may meet:
`python -m ratchet.training.pace JOB`, under torchrun for several workers. Nothing is kept of what it trains.
"""

import argparse
import logging
import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import torch
import torch.distributed as dist

from ratchet.core.errors import RatchetError
from ratchet.processes import die_with_parent
from ratchet.training.averaging import weights_of
from ratchet.training.checkpoint import TrainingState
from ratchet.training.compiling import check_compiles, compiling
from ratchet.training.devices import find_devices, take_device
from ratchet.training.failure import record_failure
from ratchet.training.feeding import LoadedBatch, feed
from ratchet.training.loop import make_optimizer, take_step
from ratchet.training.meeting import meet_the_others
from ratchet.training.pace_job import Pace, PaceChoice, PaceJob, Paces
from ratchet.training.running import CPU, Run
from ratchet.training.set_up import set_up
from ratchet.training.starting import distribute, freeze

log = logging.getLogger(__name__)
_WARM_STEPS = 3
"""Before the first that counts: the buckets are sorted, memory is there, PowerSGD has begun."""
_STEPS_MIN, _STEPS_MAX = 4, 500


def measure_paces(job: PaceJob, *, rank: int, world_size: int, device: torch.device = CPU) -> Paces:
    """Each choice twice, there and back: what a machine does meanwhile then falls on none alone. A collective."""
    network, run, _, _ = set_up(job.training, rank=rank, world_size=world_size, device=device)
    freeze(network, run.job.spec)
    start = weights_of(network)
    times: dict[int, list[float]] = {place: [] for place in range(len(job.choices))}
    firsts: dict[int, float] = {}
    refusals: dict[int, str] = {}
    num_threads = torch.get_num_threads()
    for place in (*times, *reversed(times)):
        if place in refusals:
            continue
        network.load_state_dict(start)
        try:
            first_s, timed = _time_steps(network, _chosen(run, job.choices[place]), budget_s=job.choice_s / 2)
        except RatchetError as error:  # of which all workers know: a loss that is not finite, a missing compiler
            refusals[place] = str(error)
        else:
            firsts.setdefault(place, first_s)  # the second time the compiler finds its files
            times[place] += timed
    torch.set_num_threads(num_threads)
    paces = tuple(
        _pace(choice, times[place], firsts.get(place, 0.0), refusals.get(place, ""))
        for place, choice in enumerate(job.choices)
    )
    num_parameters = sum(each.numel() for each in network.parameters() if each.requires_grad)
    return Paces(paces=paces, num_steps=run.num_steps, num_parameters=num_parameters, num_gpus=len(find_devices().gpus))


def _pace(choice: PaceChoice, times: Sequence[float], first_s: float, refusal: str) -> Pace:
    if refusal:
        return Pace(choice=choice, refusal=refusal)
    step_s = statistics.median(times)
    return Pace(choice=choice, step_s=step_s, num_steps=len(times), start_s=max(0.0, first_s - step_s))


def _chosen(run: Run, choice: PaceChoice) -> Run:
    """The same with this choice, in a training so short that PowerSGD compresses from its third step on."""
    training = run.training.model_copy(update={**dict(choice), "num_epochs": 1})
    spec = run.job.spec.model_copy(update={"training": training})
    return replace(run, job=run.job.model_copy(update={"spec": spec}), task=replace(run.task, spec=spec))


def _time_steps(network: torch.nn.Module, run: Run, *, budget_s: float) -> tuple[float, list[float]]:
    """Seconds of the first step, and of each after the warm ones. All workers make as many."""
    torch.set_num_threads(run.training.num_threads)
    check_compiles(run.job.spec, run.device)
    state = TrainingState(network, make_optimizer(_trained(network), run.training), best_weights={})
    network.train()
    with compiling(run.job, run.device):
        began = time.perf_counter()
        model, batches = distribute(network, run), _without_end(run)
        warm = [_time_step(next(batches), model, state, run) for _ in range(_WARM_STEPS)]
        # Batches of two sizes have a graph each, and DDP's passes before the first step may compile as well.
        first_s = time.perf_counter() - began - (_WARM_STEPS - 1) * min(warm)
        num_steps = torch.tensor([min(max(int(budget_s / min(warm)), _STEPS_MIN), _STEPS_MAX)])
        dist.broadcast(num_steps, 0)
        return first_s, [_time_step(next(batches), model, state, run) for _ in range(int(num_steps))]


def _time_step(batch: LoadedBatch, model: torch.nn.Module, state: TrainingState, run: Run) -> float:
    began = time.perf_counter()
    # Of a place in the middle, where each schedule has a learning rate.
    take_step(run.num_steps // 2, batch, model, state, run)
    return time.perf_counter() - began


def _trained(network: torch.nn.Module) -> list[torch.nn.Parameter]:
    return [each for each in network.parameters() if each.requires_grad]


def _without_end(run: Run) -> Iterator[LoadedBatch]:
    while True:
        yield from feed(run, epoch=0)


def main() -> None:
    die_with_parent()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("job", type=Path, help="what to measure, a JSON file")
    job = PaceJob.model_validate_json(parser.parse_args().job.read_bytes())
    torch.use_deterministic_algorithms(True)
    plan = take_device(job.training.spec.training)
    meet_the_others(plan.backend)
    rank, world_size = dist.get_rank(), dist.get_world_size()
    try:
        paces = measure_paces(job, rank=rank, world_size=world_size, device=torch.device(plan.device))
        if rank == 0:
            job.paces_path.write_text(paces.model_dump_json())
        dist.barrier()
    except BaseException as error:
        if not record_failure(error, job.training.failure_path, rank=rank, world_size=world_size):
            raise
    finally:
        dist.destroy_process_group()


if __name__ == "__main__":
    main()
