"""Small real models and data for tests.

Heavy libraries are imported where they are used: each worker collects all test modules, and runs half of them.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from ratchet.core.labels.schema import ExampleSchema
from ratchet.tasks.spec import FeatureSpec, TaskSpec
from ratchet.tasks.training_spec import TrainingSpec

DIGITS = TaskSpec.model_validate(
    {
        "name": "digits",
        "implementation": "ratchet.tasks.digits:Digits",
        "classes": tuple("0123456789"),
        "features": FeatureSpec(num_features=64, min_value=0, max_value=16),
        "training": TrainingSpec(num_epochs=4, batch_size=32, learning_rate=0.003, timeout_s=120),
    }
)
"""As a file says it that was written before inputs had types."""


def changed(spec: TaskSpec, changes: Mapping[str, object]) -> TaskSpec:
    """The task of a file that says something else in some fields, those of the old form included."""
    old = {name: getattr(spec, name) for name in ("implementation", "classes", "features")}
    new = {name: getattr(spec, name) for name in ("name", "metric", "training", "policies")}
    return TaskSpec.model_validate({**new, **old, **changes})


def vector_schema(classes: Sequence[str], *, size: int, **limits: float) -> ExampleSchema:
    """A vector called `features`, and one of these classes."""
    vector = {"name": "features", "type": "vector", "size": size, **limits}
    return ExampleSchema.model_validate({"inputs": [vector], "output": {"type": "category", "classes": classes}})


def digits_model(path: Path, *, seed: int = 0) -> str:
    """An untrained model of the task digits in a folder; gives its digest. Different seeds, different models."""
    import torch

    from ratchet.tasks.loading import load_task
    from ratchet.tasks.model_files import save_model

    torch.manual_seed(seed)
    return save_model(path, spec=DIGITS, network=load_task(DIGITS).build_model())


def digit_rows(start: int, stop: int) -> list[dict[str, object]]:
    """Rows of scikit-learn's digits with the columns of a dataset shard: id, features, label."""
    from sklearn.datasets import load_digits

    data = load_digits()
    return [
        {
            "id": f"digit-{index:04d}",
            "features": data.data[index].tolist(),
            "label": str(data.target[index]),
        }
        for index in range(start, stop)
    ]
