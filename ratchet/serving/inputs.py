"""From the instances of a V1 request to a table with a column for each input, or a clear refusal. Pure.

Values outside the task's range are let through: the model answers them as it learned to, and the caller decides what
is sensible. Where the model then fails, or its arithmetic overflows, the request is refused: that is no fault of the
model (`ratchet/serving/ranges.py`).
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from ratchet.core.errors import DataRejected
from ratchet.core.labels.schema import ExampleSchema, ImageInput, InputSpec
from ratchet.serving.columns import column_of, expected_of, vector_column
from ratchet.serving.request_images import RequestImages
from wire.printable import listed
from wire.validation_text import found_text

NUM_INSTANCES_MAX = 4096
"""Per request. One request holds the model's only thread; this many digits take some 0.1 s."""
SHORT_NAME = "features"
"""Of the only vector of a task, whatever its own name is."""


def parse_instances(payload: Any, *, schema: ExampleSchema, images: RequestImages) -> pa.Table:
    """The inputs of a V1 body `{"instances": [{"<input>": value, …}, …]}`, (B,) rows. Of a single input its values may
    stand alone: `{"instances": [[number, …], …]}`. DataRejected says what is wrong."""
    if not isinstance(payload, dict) or not isinstance(payload.get("instances"), list):
        raise DataRejected(f'The body must be a JSON object {{"instances": [{_example_of(schema)}, ...]}}.')
    instances = payload["instances"]
    check_num_instances(len(instances))
    if len(schema.inputs) == 1:
        only = schema.inputs[0]
        values = [_value_of(instance, only, index=index) for index, instance in enumerate(instances)]
        return pa.table({only.name: column_of(values, only, images=images, place="")})
    _check_objects(instances, schema)
    names = [each.name for each in schema.inputs]
    columns = [
        column_of([instance.get(each.name) for instance in instances], each, images=images) for each in schema.inputs
    ]
    return pa.table(columns, names=names)


def parse_tensor(tensor: np.ndarray, *, num_features: int) -> np.ndarray:
    """The features (B, F) float64 of an array. DataRejected says what is wrong."""
    if tensor.dtype.kind not in "iuf":
        raise DataRejected(f"The input's datatype is not numeric ({tensor.dtype}); send FP32, FP64 or an integer type.")
    if tensor.ndim != 2 or tensor.shape[1] != num_features:
        raise DataRejected(f"The input has shape {list(tensor.shape)}; this model takes [batch, {num_features}].")
    check_num_instances(tensor.shape[0])
    features_BF = tensor.astype(np.float64)
    vector_column(features_BF, place="")
    return features_BF


def check_num_instances(num_instances: int) -> None:
    if not 1 <= num_instances <= NUM_INSTANCES_MAX:
        raise DataRejected(f"{num_instances} instances in one request; 1 to {NUM_INSTANCES_MAX} are allowed.")


def _example_of(schema: ExampleSchema) -> str:
    if schema.short_input is not None:
        return "[number, ...]"
    shown = ", ".join(f'"{each.name}": ...' for each in schema.inputs[:4])
    return f"{{{shown}{', ...' if len(schema.inputs) > 4 else ''}}}"


def _value_of(instance: Any, only: InputSpec, *, index: int) -> Any:
    """Of the only input: the instance itself, or what it says under the input's name."""
    if not isinstance(instance, dict) or _is_bare_image(instance, only):
        if instance is None and not only.optional:
            raise DataRejected(f"instances[{index}] must be {expected_of(only)}, found null.")
        return instance
    names = {only.name, SHORT_NAME} if only.type == "vector" else {only.name}
    if not instance and only.optional:
        return None
    if len(instance) != 1 or not names & instance.keys():
        expected = f"{expected_of(only)}, or an object with {only.name!r} alone"
        raise DataRejected(f"instances[{index}] must be {expected}, found {_object_text(instance)}.")
    return next(iter(instance.values()))


def _is_bare_image(instance: Mapping[str, Any], only: InputSpec) -> bool:
    return isinstance(only, ImageInput) and set(instance) == {"b64"} and isinstance(instance["b64"], str)


def _check_objects(instances: Sequence[Any], schema: ExampleSchema) -> None:
    names = frozenset(each.name for each in schema.inputs)
    for index, instance in enumerate(instances):
        if not isinstance(instance, dict):
            found = found_text(instance)
            raise DataRejected(f"instances[{index}] must be an object with {listed(tuple(names))}, found {found}.")
        if not instance.keys() <= names:
            unknown = next(name for name in instance if name not in names)
            takes = listed(tuple(names))
            raise DataRejected(
                f"instances[{index}]: there is no input {found_text(unknown)}; this model takes {takes}."
            )


def _object_text(instance: Mapping[str, Any]) -> str:
    return f"an object with {listed(tuple(instance), num_max=4)}" if instance else "an empty object"
