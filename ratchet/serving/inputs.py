"""From a request's numbers to features (B, F), or a clear refusal. Values outside the task's range are let through:
the model answers them as it learned to, and the caller decides what is sensible. Where the model then fails, or its
arithmetic overflows, the request is refused: that is no fault of the model."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from ratchet.core.errors import DataRejected
from ratchet.tasks.spec import FeatureSpec

NUM_INSTANCES_MAX = 4096
"""Per request. One request holds the model's only thread; this many digits take some 0.1 s."""

_NUMBERS = {int, float}
_FLOAT32_MAX = float(np.finfo(np.float32).max)


def parse_instances(payload: Any, *, num_features: int) -> np.ndarray:
    """The features (B, F) float64 of a V1 body `{"instances": [[number, …], …]}`. DataRejected says what is wrong."""
    if not isinstance(payload, dict) or not isinstance(payload.get("instances"), list):
        raise DataRejected('The body must be a JSON object {"instances": [[number, ...], ...]}.')
    instances = payload["instances"]
    _check_num_instances(len(instances))
    for index, instance in enumerate(instances):
        _check_instance(instance, index=index, num_features=num_features)
    try:
        features_BF = np.array(instances, dtype=np.float64)
    except OverflowError:
        raise DataRejected("instances: an integer is too large for a 64-bit float.") from None
    return _check_finite(features_BF)


def parse_tensor(tensor: np.ndarray, *, num_features: int) -> np.ndarray:
    """The features (B, F) float64 of a V2 input tensor. DataRejected says what is wrong."""
    if tensor.dtype.kind not in "iuf":
        raise DataRejected(f"The input's datatype is not numeric ({tensor.dtype}); send FP32, FP64 or an integer type.")
    if tensor.ndim != 2 or tensor.shape[1] != num_features:
        raise DataRejected(f"The input has shape {list(tensor.shape)}; this model takes [batch, {num_features}].")
    _check_num_instances(tensor.shape[0])
    return _check_finite(tensor.astype(np.float64))


def is_inside(features_BF: np.ndarray, spec: FeatureSpec) -> np.ndarray:
    """Which instances (B,) a model must have an answer for: all values in the task's range, and in that of the 32-bit
    floats that networks compute with."""
    lowest, highest = _range_of(spec)
    return np.asarray(((features_BF >= lowest) & (features_BF <= highest)).all(axis=1))


def first_outside(features_BF: np.ndarray, spec: FeatureSpec) -> str | None:
    """The first value that keeps an instance from being inside, in words; None when there is none."""
    lowest, highest = _range_of(spec)
    is_outside_BF = (features_BF < lowest) | (features_BF > highest)
    if not is_outside_BF.any():
        return None
    row, column = np.argwhere(is_outside_BF)[0]
    value = features_BF[row, column]
    whose = "the task's range" if not spec.min_value <= value <= spec.max_value else "the range of 32-bit floats,"
    return f"instances[{row}][{column}] is {value:g}, outside {whose} {lowest:g} to {highest:g}"


def _range_of(spec: FeatureSpec) -> tuple[float, float]:
    return max(spec.min_value, -_FLOAT32_MAX), min(spec.max_value, _FLOAT32_MAX)


def _check_num_instances(num_instances: int) -> None:
    if not 1 <= num_instances <= NUM_INSTANCES_MAX:
        raise DataRejected(f"{num_instances} instances in one request; 1 to {NUM_INSTANCES_MAX} are allowed.")


def _check_instance(instance: Any, *, index: int, num_features: int) -> None:
    if not isinstance(instance, Sequence) or isinstance(instance, str):
        raise DataRejected(f"instances[{index}] must be a list of {num_features} numbers.")
    if len(instance) != num_features:
        raise DataRejected(f"instances[{index}] has {len(instance)} features; this model takes {num_features}.")
    if not set(map(type, instance)) <= _NUMBERS:
        odd = next(value for value in instance if type(value) not in _NUMBERS)
        raise DataRejected(f"instances[{index}] holds {odd!r:.80}; all features must be numbers.")


def _check_finite(features_BF: np.ndarray) -> np.ndarray:
    if not np.isfinite(features_BF).all():
        row, column = np.argwhere(~np.isfinite(features_BF))[0]
        raise DataRejected(f"instances[{row}][{column}] is not finite; all features must be finite numbers.")
    return features_BF
