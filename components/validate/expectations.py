"""The rules that hold for each row alone, as a Great Expectations suite. Importing GX takes 3 s: do it in here only."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from ratchet.core.labels.measured import Count
from ratchet.core.labels.shards import Place
from ratchet.tasks.spec import TaskSpec

_SHARD, _LABELER = "shard", "labeler"
_GIVEN = ("id", "label", "labeler", "labeled_at")


def frame_of(columns: Mapping[str, list[Any]]) -> pd.DataFrame:
    """`incoming` with its lists of features turned into what a rule can look at."""
    present = [
        [value for value in values or () if value == value and value is not None] for values in columns["features"]
    ]
    return pd.DataFrame(
        {
            **{name: columns[name] for name in (*_GIVEN, _SHARD)},
            "num_features": [len(values) for values in present],
            "feature_min": [min(values, default=None) for values in present],
            "feature_max": [max(values, default=None) for values in present],
        }
    )


def check_rows(frame: pd.DataFrame, spec: TaskSpec) -> tuple[Count, ...]:
    """How many rows break each rule, and where."""
    import great_expectations as gx
    from great_expectations.data_context.types.base import ProgressBarsConfig

    context = gx.get_context(mode="ephemeral")
    context.enable_analytics(False)
    context.variables.progress_bars = ProgressBarsConfig(globally=False)
    asset = context.data_sources.add_pandas("labels").add_dataframe_asset("incoming")
    batch = asset.add_batch_definition_whole_dataframe("all").get_batch(batch_parameters={"dataframe": frame})
    suite = gx.ExpectationSuite(name="labels", expectations=_rules(spec))
    wanted = {"result_format": "COMPLETE", "unexpected_index_column_names": [_SHARD, _LABELER]}
    results = batch.validate(suite, result_format=wanted).results
    counts = [_count(result, frame) for result in results]
    return tuple(sorted(counts, key=lambda count: count.check))


def _rules(spec: TaskSpec) -> list[Any]:
    """`meta` brings each rule's name back with its result."""
    import great_expectations.expectations as gxe

    low, high, num = spec.features.min_value, spec.features.max_value, spec.features.num_features
    return [
        *(
            gxe.ExpectColumnValuesToNotBeNull(column=name, meta=_named(f"{name} given", f"rows lack {name}"))
            for name in _GIVEN
        ),
        gxe.ExpectColumnValueLengthsToBeBetween(
            column="id", min_value=1, max_value=256, meta=_named("id length", "ids are empty or over 256 characters")
        ),
        gxe.ExpectColumnValuesToBeInSet(
            column="label", value_set=list(spec.classes), meta=_named("known class", "labels are no class of the task")
        ),
        gxe.ExpectColumnValuesToBeInSet(
            column="num_features", value_set=[num], meta=_named("features given", f"rows have not {num} features")
        ),
        gxe.ExpectColumnValuesToBeBetween(
            column="feature_min", min_value=low, meta=_named("features min", f"rows have a feature below {low:g}")
        ),
        gxe.ExpectColumnValuesToBeBetween(
            column="feature_max", max_value=high, meta=_named("features max", f"rows have a feature above {high:g}")
        ),
    ]


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
        num_bad, places = len(frame), list(zip(frame[_SHARD], frame[_LABELER].fillna(""), strict=True))
    meta = result.expectation_config.meta
    return Count(
        check=meta["check"],
        rule=meta["rule"],
        num_bad=num_bad,
        num_rows=len(frame),
        places=tuple(sorted(set(places))),
    )
