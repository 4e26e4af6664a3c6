"""Values as text and back, against what Go printed. kubeflow/pipelines: metadata/converter.go, driver/util.go."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedded.control_plane.engine.definitions import ParameterType
from embedded.control_plane.engine.go_text import argument_of, json_of, parse_json, parse_text, plain_of, text_of
from embedded.control_plane.errors import DataRejected

GOLDEN: dict[str, Any] = json.loads((Path(__file__).parent / "golden/go_values.json").read_text())
numbers = st.one_of(st.integers(-(2**70), 2**70), st.floats(allow_nan=False, allow_infinity=False))
texts = st.text(alphabet=st.characters(exclude_categories=["Cs"]))
values = st.recursive(
    st.one_of(st.none(), st.booleans(), numbers, texts),
    lambda inner: st.one_of(st.lists(inner), st.dictionaries(texts, inner)),
    max_leaves=10,
)


@pytest.mark.parametrize("row", GOLDEN["values"], ids=lambda row: str(row["json"])[:30])
def test_a_value_as_text_is_what_go_prints(row: Any) -> None:
    value = plain_of(parse_json(row["json"]))
    assert (text_of(value), argument_of(value)) == (row["text"], row["driver"])
    assert json_of(value) == row["wire"].replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


@pytest.mark.parametrize("row", GOLDEN["parses"], ids=lambda row: f"{row['text'][:20]!a}-{row['type']}")
def test_a_text_is_read_as_go_reads_it_or_refused(row: Any) -> None:
    kind = ParameterType(row["type"])
    if row["error"] or row["wire"] == "ERROR":  # ERROR: read, but no task could be given it
        with pytest.raises(DataRejected, match=kind.value):
            parse_text(row["text"], kind)
    else:
        assert json_of(parse_text(row["text"], kind)) == row["wire"]


@given(values)
def test_json_says_the_same_value_again(value: Any) -> None:
    plain = plain_of(value)
    assert plain_of(json.loads(json_of(plain))) == plain
    assert plain_of(parse_json(json_of(plain))) == plain


@given(values)
def test_a_value_is_made_plain_once(value: Any) -> None:
    assert plain_of(plain_of(value)) == plain_of(value)


@given(numbers)
def test_a_number_keeps_its_float64_in_every_form(number: Any) -> None:
    plain = plain_of(number)
    assert float(plain) == float(text_of(plain)) == float(argument_of(plain)) == float(json_of(plain)) == float(number)


@given(st.integers(-(2**63), 2**63 - 1))
def test_an_integer_in_a_file_is_a_float64_afterwards(number: Any) -> None:
    assert float(parse_text(f" {number}\n", ParameterType.NUMBER_INTEGER)) == float(number)


@given(texts, st.sampled_from([kind for kind in ParameterType if kind is not ParameterType.STRING]))
def test_no_text_does_more_than_be_refused(text: Any, kind: Any) -> None:
    try:
        parse_text(text, kind)
    except DataRejected as refused:
        assert kind.value in str(refused)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 10**400, [math.nan], {"a": [10**400]}])
def test_what_no_task_could_be_given_is_no_value(value: Any) -> None:
    with pytest.raises(DataRejected, match="no number"):
        plain_of(value)
