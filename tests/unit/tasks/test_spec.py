"""The task file: its form, its defaults, and the form that it had before inputs had types."""

from pathlib import Path
from typing import Any

import pytest

from ratchet.config_files import load_model
from ratchet.core.errors import PolicyError
from ratchet.tasks.spec import TaskSpec
from tests.models import DIGITS

FLIGHTS: dict[str, Any] = {
    "name": "flights",
    "inputs": [{"name": "carrier", "type": "category"}, {"name": "distance", "type": "number", "min": 0}],
    "output": {"name": "late", "type": "category", "classes": ["no", "yes"]},
    "model": {"kind": "tabular", "hidden": [64]},
}
MAILS = "name: mails\ninputs: [{name: body, type: text}]\noutput: {type: category, classes: [ham, spam]}\n"


def load(tmp_path: Path, text: str) -> TaskSpec:
    path = tmp_path / "task.yaml"
    path.write_text(text)
    return load_model(path, TaskSpec)


def test_a_task_without_code_needs_inputs_output_and_a_kind(tmp_path: Path):
    spec = load(
        tmp_path,
        "name: flights\n"
        "inputs:\n"
        "  - {name: carrier, type: category}\n"
        "  - {name: distance, type: number, min: 0}\n"
        "output: {name: late, type: category, classes: ['no', 'yes']}\n"
        "model: {kind: tabular, hidden: [64]}\n",
    )
    assert spec == TaskSpec.model_validate(FLIGHTS)
    assert (spec.compared_metric, spec.classes) == ("accuracy", ("no", "yes"))
    assert spec.model.options == {"hidden": [64]}
    assert spec.training.start == "champion"


def test_the_old_form_is_the_same_task_with_one_vector():
    assert [each.model_dump(exclude_defaults=True) for each in DIGITS.inputs] == [
        {"name": "features", "min": 0, "max": 16, "size": 64}
    ]
    assert (DIGITS.features.num_features, DIGITS.features.min_value, DIGITS.features.max_value) == (64, 0, 16)
    assert DIGITS.implementation == "ratchet.tasks.digits:Digits"
    assert TaskSpec.model_validate_json(DIGITS.model_dump_json()) == DIGITS


def test_a_task_with_typed_inputs_has_no_features():
    with pytest.raises(ValueError, match="has typed inputs"):
        _ = TaskSpec.model_validate(FLIGHTS).features


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "name: a\nimplementation: x:Y\nclasses: [a, a]\nfeatures: {num_features: 3, min_value: 0, max_value: 1}",
            "line 3: `classes`: each class needs a name of its own; twice: a",
        ),
        (
            "name: a\nimplementation: x:Y\nclasses: [a, b]\nfeatures: {num_features: 0, min_value: 0, max_value: 1}",
            "line 4: `features.num_features` must be greater than 0, found 0",
        ),
        ("name: a\nclasses: [a, b]\n", "`implementation` is missing"),
        ("name: a\ninputs: [{name: a, type: number}]\nmodel: {kind: trees}\n", "`output` is missing"),
        (
            "name: a\ninputs: [{name: a, type: number}]\noutput: {type: number}\nmetric: accuracy\nmodel: {kind: text}",
            "'accuracy' does not fit an output of type number; it takes one of rmse, mae, r2",
        ),
        (
            "name: a\ninputs: [{name: a, type: number, mn: 0}]\noutput: {type: number}\nmodel: {kind: trees}",
            "line 2: `inputs[0].mn` is not a known field",
        ),
        (
            f"{MAILS}model: {{kind: text, encoder: bert}}",
            "line 4: `model.encoder` must be one of 'hashed', 'minilm', found 'bert'",
        ),
        (f"{MAILS}model: {{kind: text, train: full}}", "line 4: `model.train` is not a known field"),
        (f"{MAILS}model: {{kind: text, encoder: minilm, buckets: 9}}", "line 4: `model.buckets` is not a known field"),
        (
            "name: a\ninputs: [{name: a, type: number}]\nfeatures: 3\noutput: {type: number}\nmodel: {kind: trees}",
            "line 3: `features` is not a known field",
        ),
    ],
)
def test_a_mistake_is_told_in_the_words_of_the_file(tmp_path: Path, text: str, expected: str):
    with pytest.raises(PolicyError) as caught:
        load(tmp_path, text)
    assert expected in str(caught.value)


def test_the_encoder_of_texts_is_the_hashed_one_unless_the_file_names_another(tmp_path: Path):
    """Whatever is installed: a task file means the same model everywhere."""
    hashed, head, full = (
        load(tmp_path, f"{MAILS}model: {{kind: text{more}}}\n")
        for more in ("", ", encoder: minilm", ", encoder: minilm, train: full")
    )
    assert hashed.implementation == "ratchet.tasks.kinds.text:Text"
    assert head.implementation == full.implementation == "ratchet.tasks.kinds.sentences:Sentences"
    rates = [each.training.learning_rate for each in (hashed, head, full)]
    assert sorted(rates, reverse=True) == rates
    assert TaskSpec.model_validate(full.model_dump(mode="json")) == full


def test_a_kind_that_is_neither_ready_made_nor_a_class_is_refused(tmp_path: Path):
    with pytest.raises(PolicyError, match="neither one of tabular, trees, text, image, vector nor a class"):
        load(tmp_path, "name: a\ninputs: [{name: a, type: number}]\noutput: {type: number}\nmodel: {kind: tabularr}\n")


def test_a_task_file_declares_changes_that_are_harmless(tmp_path: Path):
    mails = load(tmp_path, f"{MAILS}model: {{kind: text}}\ninvariant_to: [upper_case, whitespace]\n")
    assert mails.invariant_to == ("upper_case", "whitespace")
    assert TaskSpec.model_validate_json(mails.model_dump_json()) == mails
    plain = load(tmp_path, f"{MAILS}model: {{kind: text}}\n")
    assert "invariant_to" not in plain.model_dump(), "a task file that declares none keeps its digest"


@pytest.mark.parametrize(
    ("declared", "says"),
    [
        pytest.param("[upside_down]", "upper_case", id="unknown"),
        pytest.param(
            "[whitespace, vertical_flip]",
            "line 5: `invariant_to`: vertical_flip is a change of inputs",
            id="no-image",
        ),
    ],
)
def test_a_change_that_no_input_has_is_refused_by_its_place(tmp_path: Path, declared: str, says: str):
    with pytest.raises(PolicyError, match=f"(?s){says}"):
        load(tmp_path, f"{MAILS}model: {{kind: text}}\ninvariant_to: {declared}\n")
