"""An exponential moving average of a network's weights. Less noisy than the weights of the last step (Polyak and
Juditsky, 1992), and what the task's model is where `training.ema_decay` asks for it."""

import torch

from ratchet.training.checkpoint import Weights

_FIRST_STEPS = 10


def weights_of(network: torch.nn.Module) -> Weights:
    """A copy of parameters and buffers, by name."""
    return clone(network.state_dict())


def clone(weights: Weights) -> Weights:
    return {name: tensor.detach().clone() for name, tensor in weights.items()}


@torch.no_grad()
def move_average(average: Weights, network: torch.nn.Module, *, decay: float, num_steps_done: int) -> None:
    """Take the parameters after one step into the average.

    At first it forgets faster, by (1 + n) / (10 + n) of step n: or it would consist of the fresh weights for as many
    steps as the decay remembers.
    """
    share = min(decay, (1 + num_steps_done) / (_FIRST_STEPS + num_steps_done))
    # Tied parameters have a name each in the weights.
    for name, value in network.named_parameters(remove_duplicate=False):
        average[name].lerp_(value, 1 - share)


@torch.no_grad()
def copy_buffers(average: Weights, network: torch.nn.Module) -> None:
    """Running statistics are means already, and counters have no mean."""
    for name, value in network.named_buffers(remove_duplicate=False):
        if name in average:  # those that are not persistent belong to no weights
            average[name].copy_(value)
