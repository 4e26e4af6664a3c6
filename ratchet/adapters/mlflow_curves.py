"""The curves of a training in its MLflow run."""

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from ratchet.core.models.training_history import EpochMetrics, curve_points, thinned

log = logging.getLogger(__name__)
_PREFIX = "training/"
"""MLflow's page draws metrics whose names begin alike together."""
_BATCH_MAX = 1000
"""Metrics that MLflow takes at once."""
_EPOCHS_MAX = 1000
"""Of a longer training as many, evenly spread: no page shows more, and 7,000 points take some seconds."""


def try_log_curves(client: Any, run: Any, history: Sequence[EpochMetrics]) -> None:
    """A warning when MLflow does not take them: the page of the training and the model's folder have them too.

    Every point has the time of the run: MLflow keeps one that comes again as the one that it has, so a repetition adds
    none.
    """
    from mlflow.entities import Metric
    from mlflow.exceptions import MlflowException

    points = [
        Metric(f"{_PREFIX}{name}", value, run.start_time, epoch)
        for name, epoch, value in curve_points(thinned(history, _EPOCHS_MAX))
    ]
    try:
        for first in range(0, len(points), _BATCH_MAX):
            client.log_batch(run.run_id, metrics=points[first : first + _BATCH_MAX])
    except (MlflowException, ValueError) as error:  # a number that its protocol has no room for
        words = " ".join(str(error).split())[:600]
        log.warning("MLflow shows no curves of the training in run %s: %s", run.run_id, words)


def without_curves(metrics: Mapping[str, float]) -> dict[str, float]:
    """What is measured of the model alone."""
    return {name: value for name, value in metrics.items() if not name.startswith(_PREFIX)}
