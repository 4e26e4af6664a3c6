"""Evidently on the same rows: which columns it says have drifted, with its defaults."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pyarrow as pa

from benchmarks.drift.shifts import CATEGORIES, NUMBERS


@contextmanager
def _quiet() -> Iterator[None]:
    """It divides by the deviation of constant columns, and uses what pandas calls deprecated."""
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        yield


def datasets_of(old: pa.Table, new: pa.Table) -> tuple[Any, Any]:
    """(reference, current)."""
    from evidently import DataDefinition, Dataset

    definition = DataDefinition(numerical_columns=list(NUMBERS), categorical_columns=list(CATEGORIES))
    with _quiet():
        reference, current = (
            Dataset.from_pandas(table.to_pandas(), data_definition=definition) for table in (old, new)
        )
    return reference, current


def run_preset(sides: tuple[Any, Any]) -> None:
    """The report that its documentation begins with."""
    from evidently import Report
    from evidently.presets import DataDriftPreset

    with _quiet():
        Report([DataDriftPreset()], include_tests=True).run(sides[1], sides[0]).dict()


def drifted_columns(sides: tuple[Any, Any]) -> set[str]:
    """Columns whose own test fails."""
    from evidently import Report
    from evidently.metrics import ValueDrift

    names = (*NUMBERS, *CATEGORIES)
    with _quiet():
        report = Report([ValueDrift(column=name) for name in names], include_tests=True).run(sides[1], sides[0])
        tests = report.dict()["tests"]
    failed = [str(test) for test in tests if str(test["status"]).rpartition(".")[2] == "FAIL"]
    return {name for name in names if any(name in text for text in failed)}
