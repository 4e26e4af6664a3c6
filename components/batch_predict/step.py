"""Answers of the champion to many rows."""

import logging
from typing import TYPE_CHECKING

from ratchet.actions.models.batch_places import BatchPlace, LocalPlace
from ratchet.core.errors import DataRejected, NothingNew
from ratchet.core.models.batch import SUMMARY, BatchSummary
from ratchet.tasks.spec import TaskSpec

if TYPE_CHECKING:
    from ratchet.actions.models.batch_predicting import BatchPorts

log = logging.getLogger(__name__)


def batch_predict_step(
    spec: TaskSpec, *, source: str, output_format: str, place: BatchPlace, ports: "BatchPorts"
) -> BatchSummary:
    """Safe to repeat: it goes on after the last whole part, with the model of its plan, and a batch that is complete
    stays as it is."""
    if output_format not in ("jsonl", "parquet"):
        raise DataRejected(f"output_format is {output_format!r}; it must be jsonl or parquet.")
    if isinstance(place, LocalPlace):
        raise DataRejected(f"output is {place.name}, which ends with the step. Write s3://BUCKET/FOLDER.")
    from ratchet.actions.models.batch_predicting import Ask, predict_batch  # torch: 3 s, after the refusals

    ask = Ask(source, "parquet" if output_format == "parquet" else "jsonl")
    try:
        return predict_batch(
            spec, ask, place, ports, tell=lambda rows, errors: log.info("%d rows, %d of them errors", rows, errors)
        )
    except NothingNew:
        return BatchSummary.model_validate_json(place.fetch(SUMMARY) or b"")
