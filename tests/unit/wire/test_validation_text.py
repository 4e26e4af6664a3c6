from datetime import UTC, datetime
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, FiniteFloat, ValidationError, field_validator

from wire.validation_text import found_text, printable, validation_text


class Inner(BaseModel):
    model_config = ConfigDict(extra="forbid")

    size: int = Field(3, ge=1)


class Thing(BaseModel):
    model_config = ConfigDict(extra="forbid")

    features: tuple[FiniteFloat, ...] = ()
    label: str = Field("a", max_length=3)
    color: Literal["red", "blue"] = "red"
    at: AwareDatetime = datetime(2026, 1, 1, tzinfo=UTC)
    inner: Inner = Inner()
    parts: list[Inner] = []
    minimum: int | dict[str, int] = 1
    is_on: bool = True
    odd: int = 1

    @field_validator("odd")
    @classmethod
    def _check(cls, value: int) -> int:
        if value % 2 == 0:
            raise ValueError(f"{value} is even; write an odd number")
        return value


def text_of(value: Any, **options: Any) -> str:
    with pytest.raises(ValidationError) as caught:
        Thing.model_validate(value)
    return validation_text(caught.value, value=value, kind=Thing, **options)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        pytest.param({"features": {"a": 1}}, "`features` must be a list, found an object", id="tuple"),
        pytest.param({"features": [1, "x"]}, "`features[1]` must be a number, found 'x'", id="item"),
        pytest.param({"features": [1, float("nan")]}, "`features[1]` must be a finite number, found nan", id="nan"),
        pytest.param({"label": 3}, "`label` must be text, found 3", id="text"),
        pytest.param({"label": "long"}, "`label` must be text of at most 3 characters, found 'long'", id="long"),
        pytest.param({"color": "green"}, "`color` must be one of 'red', 'blue', found 'green'", id="literal"),
        pytest.param({"at": "2026-01-01"}, "`at` must be a time such as 2026-01-31T12:00:00Z, found '2026-01-01'",
                     id="no-time-zone"),
        pytest.param({"inner": 5}, "`inner` must be an object (`field: value`), found 5", id="object"),
        pytest.param({"inner": {"size": 0}}, "`inner.size` must be at least 1, found 0", id="bound"),
        pytest.param({"parts": [{}, {"size": None}]}, "`parts[1].size` must be a whole number, found null", id="deep"),
        pytest.param({"parts": [{"siez": 1}]}, "`parts[0].siez` is not a known field", id="unknown-deep"),
        pytest.param({"lable": "a"}, "`lable` is not a known field; did you mean `label`?", id="misspelt"),
        pytest.param({"minimum": {"cat": "x"}}, "`minimum.cat` must be a whole number, found 'x'",
                     id="of-a-union-the-alternative-that-fits-best"),
        pytest.param({"minimum": []}, "`minimum` must be a whole number, found a list of 0", id="no-alternative-fits"),
        pytest.param({"is_on": "maybe"}, "`is_on` must be true or false, found 'maybe'", id="boolean"),
        pytest.param({"odd": 4}, "`odd`: 4 is even; write an odd number", id="a-rule-of-ours"),
        pytest.param([], "the file must be an object (`field: value`), found a list of 0", id="whole"),
    ],
)  # fmt: skip
def test_an_error_says_field_expectation_and_finding(value: Any, expected: str) -> None:
    assert text_of(value) == expected


def test_a_missing_field_and_what_is_no_json_are_told() -> None:
    class Named(BaseModel):
        name: str

    with pytest.raises(ValidationError) as missing:
        Named.model_validate({})
    assert validation_text(missing.value, value={}) == "`name` is missing"
    with pytest.raises(ValidationError) as broken:
        Named.model_validate_json("{")
    assert validation_text(broken.value, whole="the line").startswith("the line is not JSON: EOF while parsing")


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(exclude_categories=())),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from([*Thing.model_fields, "x"]), inner),
    max_leaves=6,
)


@given(st.dictionaries(st.sampled_from([*Thing.model_fields, "\ud800"]), ANYTHING))
def test_whatever_is_wrong_the_text_is_one_printable_line_without_pydantics_words(value: dict[str, Any]) -> None:
    try:
        Thing.model_validate(value)
    except ValidationError as error:
        for known in (value, None):
            text = validation_text(error, value=known)
            assert text.isprintable() and text.encode()
            assert "Input should" not in text and "constrained" not in text, text


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        pytest.param("x" * 99, f"'{'x' * 59}…", id="long"),
        pytest.param(10**5000, "a number of more than 150 digits", id="huge"),
        pytest.param("\ud800\n", r"'\ud800\n'", id="surrogate"),
    ],
)
def test_what_was_found_is_short_and_printable(value: Any, expected: str) -> None:
    assert found_text(value) == expected
    assert printable("\x1b[31m\u2028") == r"\x1b[31m\u2028"
