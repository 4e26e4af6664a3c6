"""Labels that were made wrong are found, few others are, and the method names what cleanlab's names."""

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from sklearn.datasets import load_digits

from ratchet.core.labels.label_errors import encoded, likely_wrong, out_of_fold
from ratchet.core.labels.schema import ExampleSchema


def schema_of(inputs: list[dict[str, Any]]) -> ExampleSchema:
    return ExampleSchema.model_validate({"inputs": inputs, "output": {"type": "category", "classes": ["a", "b"]}})


def spoiled(labels_N: np.ndarray, num: int, num_classes: int) -> tuple[np.ndarray, np.ndarray]:
    """The labels with some of them wrong, and which."""
    draw = np.random.default_rng(0)
    bad = draw.choice(len(labels_N), num, replace=False)
    wrong_N = labels_N.copy()
    wrong_N[bad] = (labels_N[bad] + draw.integers(1, num_classes, num)) % num_classes
    return wrong_N, bad


def folds(num: int) -> np.ndarray:
    return np.arange(num) % 5


def test_60_wrong_labels_of_1797_real_digits_are_found_and_come_first() -> None:
    features_NF, labels_N = load_digits(return_X_y=True)
    schema = schema_of([{"name": "v", "type": "vector", "size": 64}])
    rows = encoded(pa.table({"v": pa.array(list(features_NF), pa.list_(pa.float64()))}), schema)
    wrong_N, bad = spoiled(labels_N, 60, 10)
    found, likely = likely_wrong(wrong_N, out_of_fold(rows, wrong_N, folds(len(rows)), 10))
    assert len(set(found) & set(bad)) >= 57 and len(found) <= 110
    assert np.isin(found[:50], bad).mean() >= 0.9
    right = dict(zip(found.tolist(), likely.tolist(), strict=True))
    assert np.mean([right[row] == labels_N[row] for row in bad if row in right]) >= 0.95


def test_the_rows_are_those_that_cleanlab_names() -> None:
    """Expected: cleanlab 2.9.0, find_label_issues(labels, probabilities, filter_by="confident_learning",
    return_indices_ranked_by="self_confidence")."""
    draw = np.random.default_rng(11)
    labels_N = draw.integers(0, 3, 40)
    scores = draw.normal(size=(40, 3)) + 1.5 * np.eye(3)[(labels_N + (draw.random(40) < 0.2)) % 3]
    probabilities = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    rows, _ = likely_wrong(labels_N, probabilities)
    assert rows.tolist() == [30, 31, 9, 27, 20]


def test_every_type_of_input_tells_a_class() -> None:
    labels_N = np.arange(200) % 2
    said: dict[str, tuple[dict[str, Any], Any]] = {
        "n": ({"type": "number"}, [float(label) if at % 9 else None for at, label in enumerate(labels_N)]),
        "c": ({"type": "category"}, [f"kind{label}" for label in labels_N]),
        "b": ({"type": "boolean"}, [bool(label) for label in labels_N]),
        "d": ({"type": "datetime"}, pa.array(labels_N * 10**15, pa.timestamp("us", "UTC"))),
        "t": ({"type": "text"}, [f"some words {'yes' if label else 'no'} {at}" for at, label in enumerate(labels_N)]),
        "i": (
            {"type": "image", "width": 8, "height": 8, "channels": 1},
            pa.array([bytes([40 + 90 * label] * 32 + [9] * 32) for label in labels_N.tolist()], pa.binary(64)),
        ),
    }
    for name, (declared, values) in said.items():
        schema = schema_of([{"name": name, **declared, "optional": True}])
        rows = encoded(pa.table({name: pa.array(values, schema.inputs_type.field(name).type)}), schema)
        answers = out_of_fold(rows, labels_N, folds(200), 2).argmax(axis=1)
        assert (answers == labels_N).mean() > 0.9, name


@pytest.mark.parametrize(
    "values", [[1e300, -1e300, 0.0, 1.0] * 10, [None] * 40, [3.0] * 40], ids=["huge", "none", "one"]
)
def test_odd_numbers_make_no_odd_probabilities(values: list[float | None]) -> None:
    rows = encoded(pa.table({"n": pa.array(values, pa.float64())}), schema_of([{"name": "n", "type": "number"}]))
    found = out_of_fold(rows, np.arange(40) % 2, np.arange(40) % 4, 2)
    assert np.isfinite(found).all() and found.sum(axis=1) == pytest.approx(1.0)
