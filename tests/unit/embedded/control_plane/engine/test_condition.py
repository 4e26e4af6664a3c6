"""Conditions as CEL reads them: kubeflow/pipelines, backend/src/v2/expression/expression.go (Condition)."""

import contextlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedded.control_plane.engine.condition import ConditionError, check_condition, evaluate_condition

INPUTS = {
    "million": 1_000_000,
    "big": 2**53,
    "s": "a",
    "n": 3,
    "f": 0.5,
    "b": True,
    "empty": "",
    "list": [1],
    "none": None,
}


def ref(name: str) -> str:
    return f"inputs.parameter_values['{name}']"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param(f"{ref('s')} == 'a'", True, id="text-equal"),
        pytest.param(f"{ref('empty')} == ''", True, id="empty-text"),
        pytest.param(f"int({ref('n')}) != 3", False, id="integer-unequal"),
        pytest.param(f"{ref('f')} >= 0.5", True, id="at-the-limit"),
        pytest.param(f"{ref('n')} > 2.5", True, id="integer-with-double"),
        pytest.param(f"{ref('b')} == true", True, id="boolean"),
        pytest.param(f"{ref('s')} == 1", False, id="text-is-never-a-number"),
        pytest.param(f"{ref('s')} != 1", True, id="and-always-unequal-to-one"),
        pytest.param(f"{ref('b')} == 1", False, id="true-is-not-1"),
        pytest.param(f"!({ref('s')} == 'a') && {ref('n')} == 3", False, id="elif"),
        pytest.param(f"!({ref('s')} == 'b') && !({ref('n')} == 4)", True, id="else"),
        pytest.param(f"{ref('s')} == 'x' || double({ref('n')}) == 3.0", True, id="or"),
        pytest.param("-1 < 0", True, id="negative-number"),
        pytest.param(f"string({ref('n')}) == '3'", True, id="number-as-text"),
        pytest.param(f"string({ref('million')}) == '1e+06'", True, id="an-input-is-a-double-as-text-too"),
        pytest.param("string(1000000) == '1000000'", True, id="a-literal-is-an-integer"),
        pytest.param(f"int({ref('f')}) == 0", True, id="a-double-is-cut-off"),
        pytest.param("int('-7') == -7 && double('1e3') == 1000", True, id="text-as-number"),
        pytest.param(f"{ref('none')} == 'a'", False, id="null-equals-nothing"),
        pytest.param(f"{ref('none')} != 'a'", True, id="null-is-unequal"),
        pytest.param(f"{ref('list')} == {ref('list')}", True, id="lists-are-compared"),
        pytest.param(f"{ref('s')} == 'b' && {ref('missing')} == 'a'", False, id="false-and-error-is-false"),
        pytest.param(f"{ref('missing')} == 'a' && {ref('s')} == 'b'", False, id="error-and-false-is-false"),
        pytest.param(f"{ref('missing')} == 'a' || {ref('s')} == 'a'", True, id="error-or-true-is-true"),
        pytest.param(r"""'a\nb\'\x41\u00e4\101' == "a\nb'AäA" """, True, id="escapes"),
        pytest.param(f"{ref('big')} == 9007199254740992", True, id="doubles-and-integers-compare-exactly"),
        pytest.param(f"{ref('big')} == 9007199254740993", False, id="next-integer-is-another"),
    ],
)
def test_condition_is_what_cel_makes_of_it(text: Any, expected: Any) -> None:
    assert evaluate_condition(text, INPUTS) is expected


@pytest.mark.parametrize(
    ("text", "told"),
    [
        pytest.param("__import__('os').system('x')", "not supported syntax", id="python"),
        pytest.param("size(inputs) > 1", "not supported syntax", id="unknown-function"),
        pytest.param(f"{ref('missing')} == 'a'", "'missing' has no value", id="unknown-input"),
        pytest.param(f"{ref('none')} < 'a'", "two kinds", id="null-has-no-order"),
        pytest.param(f"{ref('missing')} == 'a' && {ref('s')} == 'a'", "has no value", id="error-and-true"),
        pytest.param("int('1_000') == 1000", "has no value", id="pythons-integer"),
        pytest.param("int(' 1') == 1", "has no value", id="space-around-an-integer"),
        pytest.param("int(true) == 1", "has no value", id="true-is-no-integer"),
        pytest.param("1 == 9223372036854775808", "64 bits", id="beyond-64-bits"),
        pytest.param(r"'\d' == 'd'", "not supported syntax", id="unknown-escape"),
        pytest.param("'a\nb' == 'a'", "not supported syntax", id="line-break-in-text"),
        pytest.param(f"{ref('s')} < 1", "two kinds", id="text-below-number"),
        pytest.param(f"{ref('list')} < {ref('list')}", "two kinds", id="lists-have-no-order"),
        pytest.param(f"{ref('s')}", "not true or false", id="not-a-condition"),
        pytest.param(f"{ref('s')} && true", "not true or false", id="text-is-not-truth"),
        pytest.param("int('x') == 1", "has no value", id="not-a-number"),
        pytest.param("(1 == 1", "missing", id="open-parenthesis"),
        pytest.param("1 ==", "too early", id="cut-off"),
        pytest.param("1 == 1 2", "unexpected", id="too-much"),
        pytest.param("", "too early", id="empty"),
    ],
)
def test_condition_in_error_is_an_error_never_false(text: Any, told: Any) -> None:
    with pytest.raises(ConditionError) as refused:
        evaluate_condition(text, INPUTS)
    assert told in str(refused.value)


def test_upload_check_knows_syntax_and_names_but_asks_for_no_value() -> None:
    check_condition(f"int({ref('x')}) > 1 && !({ref('x')} == 2)", input_names=frozenset({"x"}))
    with pytest.raises(ConditionError, match="does not have"):
        check_condition(f"{ref('y')} == 1", input_names=frozenset({"x"}))


numbers = st.integers(-9, 9).map(lambda n: (str(n), n))
comparisons = st.tuples(numbers, st.sampled_from(["==", "!=", "<", "<=", ">", ">="]), numbers).map(
    lambda c: (f"{c[0][0]} {c[1]} {c[2][0]}", eval(f"{c[0][1]} {c[1]} {c[2][1]}"))
)
conditions = st.recursive(
    comparisons,
    lambda inner: st.one_of(
        inner.map(lambda c: (f"!({c[0]})", not c[1])),
        st.tuples(inner, inner).map(lambda p: (f"({p[0][0]}) && ({p[1][0]})", p[0][1] and p[1][1])),
        st.tuples(inner, inner).map(lambda p: (f"({p[0][0]}) || ({p[1][0]})", p[0][1] or p[1][1])),
    ),
    max_leaves=8,
)


@given(conditions)
def test_any_nesting_has_the_value_of_its_parts(condition: Any) -> None:
    text, expected = condition
    assert evaluate_condition(text, {}) is expected


@given(st.text(alphabet="inputs.ae_['] &|!=<>()0-9\"'", max_size=40))
def test_no_text_does_more_than_raise_a_condition_error(text: Any) -> None:
    with contextlib.suppress(ConditionError):
        assert evaluate_condition(text, INPUTS) in (True, False)
