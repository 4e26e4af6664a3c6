"""Whatever rows come, an encoding is finite, and what was learned of the training rows is small JSON."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ratchet.tasks.code_collect import collect_code
from ratchet.tasks.kinds.encoders import merged_vocabulary, num_numbers
from ratchet.tasks.kinds.ngrams import buckets_of
from ratchet.tasks.kinds.tabular import Tabular
from ratchet.tasks.kinds.trees import Trees
from ratchet.tasks.spec import TaskSpec

INPUTS = [
    {"name": "n", "type": "number", "optional": True},
    {"name": "c", "type": "category", "optional": True},
    {"name": "b", "type": "boolean", "optional": True},
    {"name": "d", "type": "datetime", "optional": True},
    {"name": "t", "type": "text", "optional": True},
    {"name": "v", "type": "vector", "size": 2, "optional": True},
]
FIELDS = {"name": "a", "inputs": INPUTS, "output": {"type": "number"}}
SPEC = TaskSpec.model_validate({**FIELDS, "model": {"kind": "tabular", "buckets": 256}})
TREES = TaskSpec.model_validate({**FIELDS, "model": {"kind": "trees"}})
FINITE = st.floats(allow_nan=False, allow_infinity=False)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "n": st.none() | FINITE,
            "c": st.none() | st.sampled_from(["a", "b", "c", ""]) | TEXT,
            "b": st.none() | st.booleans(),
            "d": st.none() | st.datetimes(datetime(1900, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001
            "t": st.none() | TEXT,
            "v": st.none() | st.lists(FINITE, min_size=2, max_size=2),
        }
    ),
    min_size=1,
    max_size=12,
)


def table_of(rows: list[dict[str, Any]]) -> pa.Table:
    return pa.Table.from_pylist(rows, schema=pa.schema(list(SPEC.examples.inputs_type)))


def labelled(rows: pa.Table) -> pa.Table:
    return rows.append_column("label", pa.array(np.arange(rows.num_rows, dtype=np.float64)))


@pytest.mark.slow
@settings(max_examples=25, deadline=None)
@given(ROWS, ROWS)
def test_any_rows_are_encoded_as_finite_numbers_by_a_state_that_is_json(training, others):
    kind, trees = Tabular(SPEC), Trees(TREES)
    state = kind.fit(labelled(table_of(training)))
    text = json.dumps(state, allow_nan=False)
    assert len(text) < 10_000
    network = kind.build_model(json.loads(text)).eval()
    for rows in (training, others):
        encoded = kind.encode(table_of(rows), json.loads(text))
        assert torch.isfinite(encoded).all()
        assert network(encoded).shape == (len(rows), 1)
        columns = trees.encode(table_of(rows), trees.fit(labelled(table_of(training))))
        assert not np.isinf(columns).any()


def test_what_was_not_seen_is_unknown_and_what_is_missing_is_missing():
    kind = Tabular(SPEC)
    empty = dict.fromkeys(("n", "b", "d", "t", "v"))
    state = kind.fit(labelled(table_of([{**empty, "c": name} for name in ["x", "x", "y", "y", "y", "once", None]])))
    rows = table_of([{**empty, "c": name} for name in ["y", "x", "once", "never", None]])
    assert state["columns"]["c"]["values"] == ["y", "x"]
    assert kind.encode(rows, state)[:, num_numbers(SPEC.inputs)].tolist() == [2, 3, 1, 1, 0]
    assert kind.unseen(rows, state) == {"c": 2}


def test_thousands_of_categories_are_bounded_by_the_options():
    spec = TaskSpec.model_validate({**FIELDS, "model": {"kind": "tabular", "categories_max": 100, "min_count": 1}})
    values = [f"v{row}" for row in range(5_000)]
    rows = table_of([dict.fromkeys(("n", "b", "d", "t", "v")) | {"c": value} for value in values])
    assert len(Tabular(spec).fit(labelled(rows))["columns"]["c"]["values"]) == 100


def test_an_outlier_moves_the_scale_of_no_other_value():
    kind = Tabular(SPEC)
    empty = dict.fromkeys(("c", "b", "d", "t", "v"))
    calm = [{**empty, "n": float(value)} for value in range(100)]
    scales = [
        kind.fit(labelled(table_of([*calm, *more])))["columns"]["n"]["scale"][0]
        for more in ([], [{**empty, "n": 1e300}])
    ]
    assert scales[1] == pytest.approx(scales[0], rel=0.05)


@given(st.lists(st.sampled_from("abcdefgh"), unique=True), st.lists(st.sampled_from("abcdefgh"), unique=True))
def test_a_value_that_stays_keeps_its_place_and_none_is_lost(known, values):
    merged = merged_vocabulary(known, values)
    assert sorted(value for value in merged if value is not None) == sorted(values)
    assert all(merged[place] == value for place, value in enumerate(known) if value in values)


@given(st.lists(st.none() | TEXT, max_size=6))
def test_a_text_has_the_same_buckets_whatever_stands_beside_it(texts):
    def buckets(some):
        return buckets_of(pa.array(some, pa.string()), salt=1, num_buckets=64, num_max=32, chars_max=30)

    together = buckets(texts)
    assert together.min(initial=0) >= 0 and together.max(initial=0) <= 64
    for row, text in enumerate(texts):
        alone = buckets([text])[0]
        assert together[row, : len(alone)].tolist() == alone.tolist()
        assert not together[row, len(alone) :].any()


def test_a_kind_is_carried_whole_and_leans_on_nothing_of_ratchet():
    """So that an upgrade changes no model that was trained before."""
    for kind in ("tabular", "trees", "text", "sentences", "image", "vector"):
        code = collect_code(f"ratchet.tasks.kinds.{kind}:{kind.capitalize()}")
        assert f"ratchet/tasks/kinds/{kind}.py" in code.files
        assert all(name.startswith("ratchet/tasks/kinds/") for name in code.files)
    for path in Path("ratchet/tasks/kinds").glob("*.py"):
        outside = [
            line for line in path.read_text().splitlines() if line.startswith(("from ratchet", "import ratchet"))
        ]
        assert all(line.startswith("from ratchet.tasks.kinds.") for line in outside), path
