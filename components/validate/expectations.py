"""The rules that hold for each row alone, as a Great Expectations suite made from the task's inputs and output.

Of a large batch Great Expectations, which takes 12 µs a row of 20 inputs, is shown the rows that break a rule and the
first ones; which these are is asked by column (`rules.Rule.is_broken_by`). Importing it takes 3 s: do it in here only.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from components.validate.rules import Rule, looked_at, rules_of
from ratchet.core.labels.measured import Count
from ratchet.core.labels.schema import ExampleSchema
from ratchet.core.labels.shards import Place

_ROW = "row"
"""Its place in the batch."""
_SHOWN_MIN = 10_000
"""Rows that are shown in any case: the suite runs, whatever the columns look like."""


def check_rows(rows: pa.Table, schema: ExampleSchema) -> tuple[Count, ...]:
    """How many rows of `incoming` break each rule, and where."""
    rules, columns = rules_of(schema), looked_at(rows, schema)
    is_shown_N = np.arange(rows.num_rows) < _SHOWN_MIN
    for rule in rules:
        is_shown_N |= rule.is_broken_by(columns[rule.column])
    shown = pa.array(np.flatnonzero(is_shown_N))
    frame = pd.DataFrame({name: _series(column.take(shown)) for name, column in columns.items()})
    frame[_ROW] = shown.to_numpy()
    results = _validated(frame, rules)
    counts = [_count(result, rows.select(["shard", "labeler"])) for result in results]
    return tuple(sorted(counts, key=lambda count: count.check))


def _validated(frame: pd.DataFrame, rules: Sequence[Rule]) -> Any:
    import great_expectations as gx
    from great_expectations.data_context.types.base import ProgressBarsConfig

    context = gx.get_context(mode="ephemeral")
    context.enable_analytics(False)
    context.variables.progress_bars = ProgressBarsConfig(globally=False)
    asset = context.data_sources.add_pandas("labels").add_dataframe_asset("incoming")
    batch = asset.add_batch_definition_whole_dataframe("all").get_batch(batch_parameters={"dataframe": frame})
    suite = gx.ExpectationSuite(name="labels", expectations=[_expectation_of(rule) for rule in rules])
    wanted = {"result_format": "COMPLETE", "unexpected_index_column_names": [_ROW]}
    return batch.validate(suite, result_format=wanted).results


def _expectation_of(rule: Rule) -> Any:
    """`meta` brings the rule's name back with its result."""
    import great_expectations.expectations as gxe

    meta = {"check": rule.check, "rule": rule.text}
    if rule.values is not None:
        return gxe.ExpectColumnValuesToBeInSet(column=rule.column, value_set=list(rule.values), meta=meta)
    if rule.low is None and rule.high is None:
        return gxe.ExpectColumnValuesToNotBeNull(column=rule.column, meta=meta)
    return gxe.ExpectColumnValuesToBeBetween(column=rule.column, min_value=rule.low, max_value=rule.high, meta=meta)


def _series(column: pa.Array) -> Any:
    """Texts as categories: of many rows with two classes, two texts are compared."""
    return column.dictionary_encode().to_pandas() if pa.types.is_string(column.type) else column.to_pandas()


def _count(result: Any, rows: pa.Table) -> Count:
    """A rule that could not be evaluated counts as broken by every row: missing evidence refuses."""
    found, meta = result.result, result.expectation_config.meta
    num_bad, broken = rows.num_rows, rows
    if "unexpected_count" in found:
        num_bad = int(found["unexpected_count"])
        numbers = [row[_ROW] for row in found.get("unexpected_index_list") or ()]
        broken = rows.take(pa.array(numbers, pa.int64()))
    return Count(
        check=meta["check"], rule=meta["rule"], num_bad=num_bad, num_rows=rows.num_rows, places=_places_of(broken)
    )


def _places_of(rows: pa.Table) -> tuple[Place, ...]:
    known = rows.group_by(rows.column_names).aggregate([])
    return tuple(sorted((row["shard"], row["labeler"] or "") for row in known.to_pylist()))
