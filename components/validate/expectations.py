"""The rules that hold for each row alone, as a Great Expectations suite made from the task's inputs and output.

Importing GX takes 3 s: do it in here only. Rules look at numbers and codes, not at texts: a length is a column.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from ratchet.core.labels.input_values import range_text
from ratchet.core.labels.label_values import whole_column
from ratchet.core.labels.measured import Count
from ratchet.core.labels.schema import (
    CategoryInput,
    CategoryOutput,
    DatetimeInput,
    ExampleSchema,
    InputSpec,
    NumberInput,
    NumberOutput,
    TextInput,
    VectorInput,
    inputs_table,
)
from ratchet.core.labels.shards import YEARS, Place

_SHARD, _LABELER = "shard", "labeler"
_GIVEN = ("id", "label", "labeler", "labeled_at")


def frame_of(rows: pa.Table, schema: ExampleSchema) -> pd.DataFrame:
    """`incoming` as columns that a rule can look at."""
    columns: dict[str, Any] = {name: _series(rows[name]) for name in (*_GIVEN, _SHARD)}
    columns["id length"] = _series(pc.utf8_length(rows["id"]))
    inputs = inputs_table(rows, schema)
    for each in schema.inputs:
        columns.update({f"inputs.{name}": values for name, values in _looked_at(inputs[each.name], each)})
    return pd.DataFrame(columns)


def check_rows(frame: pd.DataFrame, schema: ExampleSchema) -> tuple[Count, ...]:
    """How many rows break each rule, and where."""
    import great_expectations as gx
    from great_expectations.data_context.types.base import ProgressBarsConfig

    context = gx.get_context(mode="ephemeral")
    context.enable_analytics(False)
    context.variables.progress_bars = ProgressBarsConfig(globally=False)
    asset = context.data_sources.add_pandas("labels").add_dataframe_asset("incoming")
    batch = asset.add_batch_definition_whole_dataframe("all").get_batch(batch_parameters={"dataframe": frame})
    suite = gx.ExpectationSuite(name="labels", expectations=_rules(schema))
    wanted = {"result_format": "COMPLETE", "unexpected_index_column_names": [_SHARD, _LABELER]}
    results = batch.validate(suite, result_format=wanted).results
    counts = [_count(result, frame) for result in results]
    return tuple(sorted(counts, key=lambda count: count.check))


def _series(column: pa.ChunkedArray | pa.Array) -> Any:
    """Texts as categories: of a million rows with two classes, two texts are compared."""
    whole = whole_column(column)
    if pa.types.is_list(whole.type):
        return pc.list_value_length(whole).to_pandas()
    if pa.types.is_string(whole.type):
        return whole.dictionary_encode().to_pandas()
    return whole.to_pandas()


def _looked_at(column: pa.ChunkedArray, declared: InputSpec) -> Iterator[tuple[str, Any]]:
    """(name, values) of what the rules of an input look at."""
    name, whole = declared.name, whole_column(column)
    match declared:
        case VectorInput():
            yield f"{name} size", _series(pc.list_value_length(whole))
            yield f"{name} min", _of_each(np.minimum, whole)
            yield f"{name} max", _of_each(np.maximum, whole)
        case TextInput():
            yield name, _series(pc.utf8_length(whole))
        case DatetimeInput():
            yield name, _series(pc.year(whole))
        case NumberInput() | CategoryInput():
            yield name, _series(whole)
        case _:
            yield name, pd.Series(whole.is_valid().to_numpy(zero_copy_only=False)).map({True: 1.0, False: None})


def _of_each(reduce: Any, vectors: pa.ListArray) -> np.ndarray:
    """(N,) float64, NaN for a vector that is missing or empty."""
    lengths_N = pc.list_value_length(vectors).fill_null(0).to_numpy(zero_copy_only=False)
    found_N = np.full(len(vectors), np.nan)
    if lengths_N.any():
        starts_N = np.cumsum(lengths_N) - lengths_N
        flat = vectors.flatten().to_numpy(zero_copy_only=False)
        found_N[lengths_N > 0] = reduce.reduceat(flat, starts_N[lengths_N > 0])
    return found_N


def _rules(schema: ExampleSchema) -> list[Any]:
    """`meta` brings each rule's name back with its result."""
    import great_expectations.expectations as gxe

    rules = [
        *(
            gxe.ExpectColumnValuesToNotBeNull(column=name, meta=_named(f"{name} given", f"rows lack {name}"))
            for name in _GIVEN
        ),
        _between("id length", "id length", "ids are empty or over 256 characters", 1, 256),
    ]
    output = schema.output
    if isinstance(output, CategoryOutput):
        rules.append(
            gxe.ExpectColumnValuesToBeInSet(
                column="label",
                value_set=list(output.classes),
                meta=_named("known class", "labels are no class of the task"),
            )
        )
    elif isinstance(output, NumberOutput) and not _is_free(output.range):
        rules.append(_between("label", "label range", f"labels are not {range_text(*output.range)}", *output.range))
    for each in schema.inputs:
        rules += _rules_of(each, is_short=schema.short_input is not None)
    return rules


def _rules_of(declared: InputSpec, *, is_short: bool) -> Iterator[Any]:
    import great_expectations.expectations as gxe

    name = declared.name
    column = f"inputs.{name}"
    if isinstance(declared, VectorInput):
        yield from _rules_of_vector(declared, is_short=is_short)
        return
    if not declared.optional:
        yield gxe.ExpectColumnValuesToNotBeNull(column=column, meta=_named(f"{name} given", f"rows lack {name}"))
    match declared:
        case NumberInput() if not _is_free(declared.range):
            low, high = declared.range
            yield _between(
                column, f"{name} range", f"rows have a {name} that is not {range_text(low, high)}", low, high
            )
        case CategoryInput() if declared.values:
            yield gxe.ExpectColumnValuesToBeInSet(
                column=column,
                value_set=list(declared.values),
                meta=_named(f"{name} value", f"rows have a {name} that is none of its values"),
            )
        case TextInput():
            rule = f"rows have a {name} of more than {declared.chars_max:,} characters"
            yield _between(column, f"{name} length", rule, 0, declared.chars_max)
        case DatetimeInput():
            rule = f"rows have a {name} that is not in {YEARS[0]} to {YEARS[-1]}"
            yield _between(column, f"{name} year", rule, YEARS[0], YEARS[-1])


def _rules_of_vector(declared: VectorInput, *, is_short: bool) -> Iterator[Any]:
    import great_expectations.expectations as gxe

    name = "features" if is_short else declared.name
    one = "a feature" if is_short else f"a number of {name}"
    column, (low, high) = f"inputs.{declared.name}", declared.range
    many = f"{declared.size} features" if is_short else f"{declared.size} numbers in {name}"
    if not declared.optional:
        yield gxe.ExpectColumnValuesToNotBeNull(
            column=f"{column} size", meta=_named(f"{name} there", f"rows lack {name}")
        )
    yield gxe.ExpectColumnValuesToBeInSet(
        column=f"{column} size", value_set=[declared.size], meta=_named(f"{name} given", f"rows have not {many}")
    )
    if low > float("-inf"):
        yield _between(f"{column} min", f"{name} min", f"rows have {one} below {low:g}", low, None)
    if high < float("inf"):
        yield _between(f"{column} max", f"{name} max", f"rows have {one} above {high:g}", None, high)


def _between(column: str, check: str, rule: str, low: float | None, high: float | None) -> Any:
    import great_expectations.expectations as gxe

    return gxe.ExpectColumnValuesToBeBetween(
        column=column, meta=_named(check, rule), min_value=_finite(low), max_value=_finite(high)
    )


def _finite(limit: float | None) -> float | None:
    return limit if limit is not None and np.isfinite(limit) else None


def _is_free(limits: tuple[float, float]) -> bool:
    return not any(np.isfinite(limit) for limit in limits)


def _named(check: str, rule: str) -> dict[str, str]:
    return {"check": check, "rule": rule}


def _count(result: Any, frame: pd.DataFrame) -> Count:
    """A rule that could not be evaluated counts as broken by every row: missing evidence refuses."""
    found = result.result
    if "unexpected_count" in found:
        num_bad = int(found["unexpected_count"])
        rows = found.get("unexpected_index_list") or ()
        places: Sequence[Place] = [(row[_SHARD], row[_LABELER] or "") for row in rows]
    else:
        num_bad, places = (
            len(frame),
            list({*zip(frame[_SHARD], frame[_LABELER].astype(object).fillna(""), strict=True)}),
        )
    meta = result.expectation_config.meta
    return Count(
        check=meta["check"],
        rule=meta["rule"],
        num_bad=num_bad,
        num_rows=len(frame),
        places=tuple(sorted(set(places))),
    )
