"""How much a row of each class counts in a training's loss. Pure. Shape suffixes: K classes."""

from collections.abc import Sequence
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

Weight = Annotated[float, Field(gt=0, le=1e6, allow_inf_nan=False)]
ClassWeights = Literal["none", "balanced"] | dict[str, Weight]


def class_weights_of(asked: ClassWeights, classes: Sequence[str], counts_K: np.ndarray) -> np.ndarray | None:
    """(K,) float64, with a mean of 1 over the training rows: the weights change which errors count, and not the
    learning rate that fits. None: every row counts alike.

    counts_K: training rows of each class. balanced: by one over the number of rows (King and Zeng, 2001). A class
    without a training row weighs 1.
    """
    if asked == "none":
        return None
    if asked == "balanced":
        weights_K = 1 / np.maximum(counts_K, 1).astype(np.float64)
    else:
        weights_K = np.array([asked.get(name, 1.0) for name in classes], dtype=np.float64)
    total = float(counts_K @ weights_K)
    weights_K = weights_K * (counts_K.sum() / total) if total else weights_K
    return np.where(counts_K > 0, weights_K, 1.0)
