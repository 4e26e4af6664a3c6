"""The champion's answer in the control of a labelling interface."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ratchet.core.labels.formats.items import UnreadableFile, WrongItem
from ratchet.core.labels.formats.prefill import CONFIG_CHARS_MAX, control_in, is_left_blind, result_of
from ratchet.core.labels.formats.queue_files import label_config
from tests.unit.core.labels.formats.reading import MAILS, PETS, STARS, TOPICS, read


def interface(*controls: str) -> str:
    return f'<View><Text name="text" value="$text"/>{"".join(controls)}</View>'


MOODS = '<Choices name="mood" toName="text"><Choice value="good"/><Choice value="bad"/></Choices>'
TREE = (
    '<Taxonomy name="topics" toName="text"><Choice value="culture"><Choice value="art"/></Choice>'
    '<Choice value="law"/></Taxonomy>'
)


@pytest.mark.parametrize(
    ("schema", "config", "answer", "kind", "value"),
    [
        pytest.param(MAILS, interface(MOODS), "good", "choices", {"choices": ["good"]}, id="choices"),
        pytest.param(MAILS, label_config(MAILS), "bad", "choices", {"choices": ["bad"]}, id="our-own-interface"),
        pytest.param(PETS, label_config(PETS), "cat", "choices", {"choices": ["cat"]}, id="picture"),
        pytest.param(
            TOPICS, interface(TREE), ["art", "law"], "taxonomy", {"taxonomy": [["culture", "art"], ["law"]]}, id="tree"
        ),
        pytest.param(TOPICS, label_config(TOPICS), [], "choices", {"choices": []}, id="no-tag"),
        pytest.param(STARS, label_config(STARS), 2.5, "number", {"number": 2.5}, id="number"),
        pytest.param(
            STARS, interface('<Rating name="stars" toName="text"/>'), 3.6, "rating", {"rating": 4}, id="stars"
        ),
        pytest.param(
            STARS, interface('<Rating name="stars" toName="text"/>'), -2.0, "rating", {"rating": 1}, id="below-one-star"
        ),
        pytest.param(
            MAILS, interface('<TextArea name="mood" toName="text"/>'), "good", "textarea", {"text": ["good"]}, id="text"
        ),
        pytest.param(
            MAILS,
            interface('<Choices name="mood" toName="text" value="$options"/>'),
            "new",
            "choices",
            {"choices": ["new"]},
            id="choices-of-the-task",
        ),
    ],
)
def test_an_answer_has_the_form_of_its_control(schema, config, answer, kind, value):
    control = control_in(config, schema)
    (result,) = result_of(answer, control)
    assert (result["from_name"], result["to_name"]) == (schema.output.name, control.shown)
    assert (result["type"], result["value"]) == (kind, value)


@pytest.mark.parametrize(
    ("schema", "config", "answer"),
    [
        pytest.param(MAILS, interface(MOODS), "bad", id="choice"),
        pytest.param(TOPICS, interface(TREE), ["art", "law"], id="tree"),
        pytest.param(STARS, label_config(STARS), 4.0, id="number"),
    ],
)
def test_an_answer_that_is_submitted_unchanged_is_imported_as_it_was(schema, config, answer):
    result = result_of(answer, control_in(config, schema))
    said = {"id": 7, "completed_by": 1, "result": result, "created_at": "2026-01-02T03:04:05Z"}
    data = {schema.inputs[0].name: "hello", "id": "m-1"}
    lines, left = read("label-studio", json.dumps([{"id": 3, "data": data, "annotations": [said]}]), schema)
    assert (left, [line["label"] for line in lines]) == ([], [answer])


@pytest.mark.parametrize(
    ("config", "error", "text"),
    [
        pytest.param("<View/>", WrongItem, "named 'mood', found none", id="no-control"),
        pytest.param(
            interface(MOODS.replace('"mood"', '"a"'), MOODS.replace('"mood"', '"b"')), WrongItem, "found 2", id="two"
        ),
        pytest.param(interface('<Number name="mood" toName="text"/>'), WrongItem, "found none", id="of-numbers"),
        pytest.param("<View>", UnreadableFile, "line 1: not XML", id="not-closed"),
        pytest.param("\ud800", UnreadableFile, "not XML", id="half-a-character"),
        pytest.param('<!DOCTYPE a [<!ENTITY b "c">]><View/>', UnreadableFile, "document type", id="entity"),
        pytest.param(" " * (CONFIG_CHARS_MAX + 1), UnreadableFile, "the limit is", id="huge"),
    ],
)
def test_an_interface_that_cannot_show_the_answer_is_refused_in_words(config, error, text):
    with pytest.raises(error, match=text):
        control_in(config, MAILS)


def test_a_class_that_is_no_choice_is_named():
    with pytest.raises(WrongItem, match="no choice 'ugly'"):
        result_of("ugly", control_in(interface(MOODS), MAILS))


def test_a_tenth_is_left_blind_and_always_the_same():
    blind = [is_left_blind(f"m-{number}") for number in range(10_000)]
    assert abs(sum(blind) - 1_000) < 150, "five standard deviations of 10,000 draws at 10 %"
    assert blind[:100] == [is_left_blind(f"m-{number}") for number in range(100)]


@given(st.text(alphabet='<>/="&!? aV\n', max_size=60))
def test_any_interface_is_a_control_or_a_reason(config):
    with pytest.raises((WrongItem, UnreadableFile)):
        control_in(config, MAILS)
