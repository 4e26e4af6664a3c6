"""What the methods of a user's task must give. Each refusal names the class and the method, what came and what to do.

Shape suffixes: B rows of a batch, K classes.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from ratchet.core.errors import DataRejected
from ratchet.core.labels.answers import Answers, answers_of
from ratchet.tasks.bound import TorchTask
from ratchet.tasks.spec import TaskSpec


def check_inputs(inputs: Any, *, num_rows: int, where: str, first: int = 0) -> torch.Tensor:
    """What `preprocess` or `encode` (where, by its full name) gave: a tensor with `num_rows` rows and no number that is
    not finite. first: place of the first row among all, of a part."""
    if not isinstance(inputs, torch.Tensor):
        raise DataRejected(f"{where} returned {_kind_of(inputs)}; it must return a tensor of {num_rows} rows.")
    if inputs.dim() == 0 or len(inputs) != num_rows:
        raise DataRejected(
            f"{where} returned a tensor of shape {list(inputs.shape)} for {num_rows} rows; its first dimension must be "
            f"{num_rows}."
        )
    if inputs.is_floating_point() and not torch.isfinite(inputs).all():
        row = first + int((~torch.isfinite(inputs.reshape(num_rows, -1))).any(dim=1).nonzero()[0])
        raise DataRejected(
            f"{where} returned a number that is not finite, first for row {row} of {first + num_rows}. Look for a "
            "logarithm, a root or a division of features that may be 0 or negative."
        )
    return inputs


def check_network(network: Any, *, spec: TaskSpec) -> torch.nn.Module:
    """What `build_model` gave: a module with at least one parameter that a training can change."""
    where = f"{spec.implementation}.build_model"
    if not isinstance(network, torch.nn.Module):
        raise DataRejected(f"{where} returned {_kind_of(network)}; it must return a torch.nn.Module.")
    lazy = [name for name, value in network.named_parameters() if torch.nn.parameter.is_lazy(value)]
    if lazy:
        raise DataRejected(
            f"{where}: {', '.join(lazy[:5])} have no size yet (lazy layers). Give the layers their sizes, or call the "
            "network once with zeros before returning it."
        )
    if not any(parameter.requires_grad for parameter in network.parameters()):
        num = len(list(network.parameters()))
        raise DataRejected(
            f"{where} returned a network in which no parameter can be trained: {num} parameters, none with "
            "requires_grad=True. Leave at least the output layer trainable."
        )
    return network


def check_logits(logits: Any, *, num_rows: int, spec: TaskSpec) -> torch.Tensor:
    """What the network gave for a batch, floating point: logits (B, K), or numbers (B,) or (B, 1)."""
    where = f"The network of {spec.implementation}.build_model"
    if spec.output.type == "number":
        return _check_numbers(logits, num_rows=num_rows, where=where)
    expected = f"logits of shape [{num_rows}, {len(spec.classes)}]: a row for each example, a column for each class"
    if not isinstance(logits, torch.Tensor):
        raise DataRejected(f"{where} returned {_kind_of(logits)}; it must return {expected}.")
    if list(logits.shape) != [num_rows, len(spec.classes)] or not logits.is_floating_point():
        kind = str(logits.dtype).removeprefix("torch.")
        raise DataRejected(f"{where} returned {kind} of shape {list(logits.shape)}; it must return {expected}.")
    return logits


def _check_numbers(outputs: Any, *, num_rows: int, where: str) -> torch.Tensor:
    expected = f"one number for each example: shape [{num_rows}] or [{num_rows}, 1]"
    if not isinstance(outputs, torch.Tensor):
        raise DataRejected(f"{where} returned {_kind_of(outputs)}; it must return {expected}.")
    if list(outputs.shape) not in ([num_rows], [num_rows, 1]) or not outputs.is_floating_point():
        kind = str(outputs.dtype).removeprefix("torch.")
        raise DataRejected(f"{where} returned {kind} of shape {list(outputs.shape)}; it must return {expected}.")
    return outputs


def check_loss(loss: Any, *, spec: TaskSpec) -> torch.Tensor:
    """What `loss` gave: one number, as a tensor without dimensions that depends on a trainable parameter."""
    where = f"{spec.implementation}.loss"
    if not isinstance(loss, torch.Tensor):
        raise DataRejected(f"{where} returned {_kind_of(loss)}; it must return a tensor with one number.")
    if loss.numel() != 1 or not loss.is_floating_point():
        kind = str(loss.dtype).removeprefix("torch.")
        raise DataRejected(
            f"{where} returned {kind} of shape {list(loss.shape)}; it must return one floating point number, such as "
            "the mean over the batch: loss.mean()."
        )
    if torch.is_grad_enabled() and not loss.requires_grad:
        raise DataRejected(
            f"{where} returned a number that depends on no trainable parameter. Compute it from the logits, without "
            "detach(), item() or torch.no_grad()."
        )
    return loss.reshape(())


def check_answers(network: torch.nn.Module, inputs: torch.Tensor, *, task: TorchTask) -> Answers:
    """What a trained network answers, no number of which is other than finite."""
    spec = task.spec
    with torch.no_grad():
        logits = check_logits(network(inputs), num_rows=len(inputs), spec=spec)
        decoded = task.decode(logits)
    if not np.isfinite(decoded).all():
        what = "numbers" if spec.output.type == "number" else "class probabilities"
        raise DataRejected(
            f"The network of {spec.implementation}.build_model gives {what} that are not finite in evaluation mode. "
            f"{likely_reasons_of(spec)}"
        )
    try:
        return answers_of(decoded, spec.output)
    except ValueError as error:
        raise DataRejected(f"{spec.implementation}.decode: {error}.") from None


def check_weights(weights: Mapping[str, torch.Tensor], *, spec: TaskSpec) -> None:
    """That a model's numbers are finite."""
    for name, tensor in weights.items():
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            num = int((~torch.isfinite(tensor)).sum())
            raise DataRejected(
                f"{num} of {tensor.numel()} numbers of {name} are not finite after the training of {spec.name!r}. "
                f"{likely_reasons_of(spec)}"
            )


def check_metrics(metrics: Any, *, spec: TaskSpec) -> dict[str, float]:
    """What `metrics` gave: finite numbers by name, "accuracy" (0..1) among them."""
    where = f"{spec.implementation}.metrics"
    if not isinstance(metrics, Mapping):
        raise DataRejected(f'{where} returned {_kind_of(metrics)}; it must return a dict such as {{"accuracy": 0.9}}.')
    numbers = {}
    for name, value in metrics.items():
        if isinstance(value, bool) or not isinstance(value, int | float | np.number) or not np.isfinite(value):
            raise DataRejected(f"{where}: {name!r} is {value!r}; every metric must be a finite number.")
        numbers[str(name)] = float(value)
    if not 0 <= numbers.get("accuracy", -1) <= 1:
        given = numbers.get("accuracy", f"missing; there are {', '.join(sorted(numbers)) or 'no metrics'}")
        raise DataRejected(f'{where}: "accuracy" is {given}; it must be a number from 0 to 1.')
    return numbers


def likely_reasons_of(spec: TaskSpec) -> str:
    """The end of a sentence about numbers that are not finite."""
    of_fp16 = ""
    if spec.training.communication.compress == "fp16":
        of_fp16 = "training.communication.compress fp16 makes a gradient beyond 65,504 infinite, bf16 does not; "
    return (
        f"Likely reasons: {of_fp16}training.learning_rate {spec.training.learning_rate:g} is too high; "
        f"{spec.implementation}.preprocess leaves the features too large; {spec.implementation}.loss takes a logarithm "
        "of 0 or divides by 0. A retry gives the same: change the task file or the class."
    )


def _kind_of(value: Any) -> str:
    return "nothing (None)" if value is None else f"a {type(value).__name__}"
