"""Drift by type: each shift is found in its column, and nowhere else."""

from functools import lru_cache

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ratchet.core.labels.drift.decide import TypedDecision, advice_of, decide_typed_drift
from ratchet.core.labels.drift.evidence import next_look
from ratchet.core.labels.drift.measures import measure_shifts
from ratchet.core.labels.drift.page import render_columns
from ratchet.core.labels.drift.policy import DriftPolicy
from ratchet.core.labels.drift.stored import bytes_of_sketch, sketch_of_bytes
from ratchet.core.labels.drift.tables import TableSketch, sketch_of_rows
from ratchet.core.labels.schema import (
    CategoryInput,
    CategoryOutput,
    DatetimeInput,
    ExampleSchema,
    NumberInput,
    NumberOutput,
    TagsOutput,
)
from tests.unit.core.labels.drift.typed_rows import SCHEMA, SHIFTS, rows_of

pytestmark = pytest.mark.slow

POLICY = DriftPolicy()


@lru_cache
def known() -> TableSketch:
    return sketch_of_rows(rows_of(2_500, seed=0), SCHEMA)


def judge(
    old: TableSketch, new: TableSketch, schema: ExampleSchema = SCHEMA, policy: DriftPolicy = POLICY
) -> TypedDecision:
    look = next_look(None, reference="v1", subject="v2")
    measures = measure_shifts(old, new, schema=schema, policy=policy)
    return decide_typed_drift(measures, num_old=old.num_rows, num_new=new.num_rows, look=look, policy=policy)


def drifted_of(decision: TypedDecision) -> set[str]:
    return {column.name for column in decision.columns if column.state == "drifted"}


@pytest.mark.parametrize("name", SHIFTS)
def test_a_shift_is_found_in_its_column_and_nowhere_else(name: str) -> None:
    change, expected = SHIFTS[name]
    decision = judge(known(), sketch_of_rows(rows_of(1_500, seed=1, change=change), SCHEMA))
    assert drifted_of(decision) == expected, [reason.text for reason in decision.drift.reasons]
    assert decision.drift.name == ("drifted" if expected else "stable")
    assert {reason.passed for reason in decision.drift.reasons} == ({False} if expected else {True})
    assert "NaN" not in "".join(column.model_dump_json() for column in decision.columns)


def test_without_rows_or_with_few_it_says_what_would_have_shown() -> None:
    few = sketch_of_rows(rows_of(40, seed=1), SCHEMA)
    for old, new, said in (
        (known(), few, "40 new"),
        (known(), TableSketch(), "0 new"),
        (TableSketch(), few, "0 known"),
    ):
        decision = judge(old, new)
        assert decision.drift.name == "too_few" and said in decision.drift.reasons[0].text
        assert "A shift of" in decision.drift.reasons[0].text


def test_columns_with_too_few_rows_to_see_a_large_shift_say_so() -> None:
    decision = judge(known(), sketch_of_rows(rows_of(60, seed=1), SCHEMA))
    assert decision.drift.name == "too_few"
    assert any("they show a shift of" in reason.text for reason in decision.drift.reasons)


@given(st.permutations(range(5)), st.integers(0, 5))
@settings(max_examples=3)
def test_a_verdict_of_parts_is_that_of_the_whole(order: list[int], seed: int) -> None:
    parts = [rows_of(60, seed=seed, start=60 * part) for part in range(5)]
    parts = [
        part.set_column(0, "id", pa.array([f"{number}-{row}" for row in range(60)]))
        for number, part in enumerate(parts)
    ]
    whole = sketch_of_rows(pa.concat_tables(parts), SCHEMA)
    merged = TableSketch()
    for number in order:
        merged = merged.merge(sketch_of_rows(parts[number], SCHEMA))
    assert judge(known(), merged).drift == judge(known(), whole).drift


def test_opinions_about_one_example_count_once_and_classes_that_are_gone_do_not() -> None:
    rows = rows_of(100, seed=2)
    twice = pa.concat_tables([rows, rows.slice(0, 50)])
    assert sketch_of_rows(twice, SCHEMA).num_rows == 100
    gone = SCHEMA.model_copy(update={"output": CategoryOutput(classes=("no", "never"))})
    assert sketch_of_rows(rows, gone).num_rows == rows["label"].to_pylist().count("no")


def test_a_stored_sketch_is_the_same_sketch() -> None:
    for sketch in (known(), sketch_of_rows(rows_of(0, seed=0), SCHEMA)):
        read, covers = sketch_of_bytes(bytes_of_sketch(sketch, ["a", "b"]))
        assert covers == ("a", "b") and read.num_rows == sketch.num_rows
        assert judge(read, known()) == judge(sketch, known())
        assert read.merge(known()).num_rows == sketch.num_rows + 2_500
    with pytest.raises((ValueError, pa.ArrowException)):
        sketch_of_bytes(b"no sketch")


def small(schema: ExampleSchema, columns: dict, label: list) -> TableSketch:
    fields = [pa.array(columns[field.name], field.type) for field in schema.inputs_type]
    inputs = pa.StructArray.from_arrays(fields, fields=list(schema.inputs_type))
    ids = [f"{len(label)}-{row}" for row in range(len(label))]
    return sketch_of_rows(pa.table({"id": ids, "inputs": inputs, "label": pa.array(label, schema.label_type)}), schema)


def test_times_that_go_on_are_no_news() -> None:
    schema = ExampleSchema(inputs=(DatetimeInput(name="at"),), output=CategoryOutput(classes=("a", "b")))
    hour_us = 3_600_000_000
    random = np.random.default_rng(0)
    old, new = (
        small(schema, {"at": random.integers(start * hour_us, (start + 2_000) * hour_us, 800)}, ["a", "b"] * 400)
        for start in (400_000, 402_000)
    )
    decision = judge(old, new, schema)
    assert decision.drift.name == "stable"
    assert [column.state for column in decision.columns if column.name == "at"] == ["not_judged"]
    assert any("time goes on" in reason.text for reason in decision.drift.reasons)


def test_numbers_and_tags_as_labels() -> None:
    number = ExampleSchema(inputs=(NumberInput(name="x"),), output=NumberOutput(name="price"))
    random = np.random.default_rng(0)
    same = {"x": random.normal(size=600)}
    old, new = (small(number, same, random.normal(mean, 1, 600).tolist()) for mean in (0, 0.5))
    assert drifted_of(judge(old, new, number)) == {"price"}
    tags = ExampleSchema(inputs=(NumberInput(name="x"),), output=TagsOutput(classes=("wet", "cold", "dark")))

    def tagged(share: float) -> list[list[str]]:
        return [["wet"] * (random.random() < share) + ["cold"] * (random.random() < 0.5) for _ in range(600)]

    decision = judge(small(tags, same, tagged(0.2)), small(tags, same, tagged(0.4)), tags)
    assert drifted_of(decision) == {"label: wet"}
    assert "The labels shift and the inputs do not" in advice_of(decision.columns, name="drifted", task="t")


def test_a_constant_that_becomes_another_and_a_span_beyond_floats_are_told_in_finite_numbers() -> None:
    schema = ExampleSchema(inputs=(NumberInput(name="x"),), output=CategoryOutput(classes=("a", "b")))
    labels = ["a", "b"] * 100
    for old, new, expected in (
        ([3.0] * 200, [4.0] * 200, {"x"}),
        ([3.0] * 200, [3.0] * 200, set()),
        ([1e308, -1e308] * 100, [1e308, 1e308] * 100, {"x"}),
        ([1e308, -1e308] * 100, [1e308, -1e308] * 100, set()),
    ):
        decision = judge(small(schema, {"x": old}, labels), small(schema, {"x": new}, labels), schema)
        assert drifted_of(decision) == expected
        assert all(np.isfinite([c.effect, c.p_value, c.e_value, c.detectable]).all() for c in decision.columns)


def test_thousands_of_categories_by_chance_are_stable_and_a_new_vocabulary_is_not() -> None:
    schema = ExampleSchema(inputs=(CategoryInput(name="who"),), output=CategoryOutput(classes=("a", "b")))
    random = np.random.default_rng(0)

    def users(num: int, prefix: str) -> list[str]:
        return [f"{prefix}{int(number) % 3_000}" for number in random.zipf(1.5, num)]

    labels = ["a", "b"] * 600
    old = small(schema, {"who": users(1_200, "u")}, labels)
    assert judge(old, small(schema, {"who": users(1_200, "u")}, labels), schema).drift.name == "stable"
    half = [*users(900, "u"), *users(300, "v")]
    assert "who: never seen before" in drifted_of(judge(old, small(schema, {"who": half}, labels), schema))


def test_the_page_shows_every_column_with_its_bars_and_no_foreign_markup() -> None:
    change, _ = SHIFTS["new-category"]
    decision = judge(known(), sketch_of_rows(rows_of(1_500, seed=1, change=change), SCHEMA))
    columns = tuple(column.model_copy(update={"name": f"<b>{column.name}"}) for column in decision.columns)
    page = render_columns(columns)
    assert page.count("<svg") == sum(bool(column.names) for column in columns)
    assert "<b>" not in page and "&lt;b&gt;carrier" in page and "<script" not in page
    assert render_columns(()) == ""


def test_without_drift_alarms_are_as_rare_as_promised_however_small_a_shift_may_be() -> None:
    """Columns of each method; a policy that calls the least shift harmful, and allows a false alarm in five."""
    schema = ExampleSchema(
        inputs=(NumberInput(name="x"), NumberInput(name="ties"), CategoryInput(name="who", optional=True)),
        output=CategoryOutput(classes=("a", "b")),
    )
    policy = POLICY.model_copy(
        update={
            "number_shift_max": 1e-9,
            "feature_shift_max": 1e-9,
            "category_shift_max": 1e-9,
            "share_shift_max": 1e-9,
        }
        | {"false_alarm_ratio": 0.2}
    )
    random = np.random.default_rng(0)

    def draw(num: int) -> TableSketch:
        columns = {
            "x": random.normal(size=num),
            "ties": random.integers(0, 3, num).astype(float),
            "who": [None if value == 0 else f"w{value}" for value in random.integers(0, 9, num)],
        }
        return small(schema, columns, random.choice(["a", "b"], num).tolist())

    alarms = sum(judge(draw(300), draw(150), schema, policy).drift.name == "drifted" for _ in range(60))
    assert alarms <= 60 * 0.2
