"""PowerSGD (Vogels et al., 2019) by torch's hook: gradients meet as two thin matrices each.

Shape suffixes: W workers, N numbers of a bucket of gradients.
"""

import torch
import torch.distributed as dist
from torch.distributed.algorithms.ddp_comm_hooks.powerSGD_hook import PowerSGDState, powerSGD_hook

Kept = dict[str, torch.Tensor]
_Future = torch.futures.Future[torch.Tensor]
_RANK = 4
"""Of PowerSGD's matrices: with 4 all models of Vogels et al. (2019) reached what they reach without compression."""
_EXACT_SHARE = 10
"""Of this many steps of a training the first ones are exact: the first gradients are the largest."""
_EXACT_STEPS_MIN = 2
"""What torch's hook asks for."""


class PowerSgd:
    """PowerSGD, with what it keeps from step to step: what it left out of the gradients so far, and the matrices that
    the next step begins with. A training that goes on needs both."""

    def __init__(self, *, num_steps: int) -> None:
        """num_steps: of the whole training."""
        self._num_exact = max(_EXACT_STEPS_MIN, num_steps // _EXACT_SHARE)
        self._state = self._fresh_state()

    def begin(self) -> None:
        """Forget what came so far."""
        self._state = self._fresh_state()

    def meet(self, bucket: dist.GradBucket) -> _Future:
        """Of one bucket, to its end: the hook's collectives start in threads of gloo's, so those of two buckets could
        start in another order on another worker, and would meet the wrong ones there."""
        future = powerSGD_hook(self._state, bucket)
        future.wait()
        return future

    def gather(self, *, rank: int, world_size: int) -> Kept:
        """What all workers keep, on worker 0; {} on the others. A collective."""
        kept = {"step": torch.tensor(self._state.iter)}
        for place, error in sorted(self._state.error_dict.items()):
            error_N = error.cpu()
            errors = [torch.empty_like(error_N) for _ in range(world_size)] if rank == 0 else None
            dist.gather(error_N, errors, dst=0)
            if errors is not None:
                kept[f"{place}/errors_WN"] = torch.stack(errors)
                kept[f"{place}/p"] = self._state.p_memory_dict[place].cpu().clone()
                kept[f"{place}/q"] = self._state.q_memory_dict[place].cpu().clone()
        return kept if rank == 0 else {}

    def restore(self, kept: Kept, *, rank: int, device: torch.device) -> None:
        """Go on as the worker would have. kept: as `gather` gave it."""
        self.begin()
        self._state.iter = int(kept["step"])
        for name, value in kept.items():
            place, _, what = name.partition("/")
            if what == "errors_WN":
                self._state.error_dict[int(place)] = value[rank].clone().to(device)
            elif what == "p":
                self._state.p_memory_dict[int(place)] = value.clone().to(device)
            elif what == "q":
                self._state.q_memory_dict[int(place)] = value.clone().to(device)

    def _fresh_state(self) -> PowerSGDState:
        return PowerSGDState(
            process_group=None, matrix_approximation_rank=_RANK, start_powerSGD_iter=self._num_exact, random_seed=0
        )
