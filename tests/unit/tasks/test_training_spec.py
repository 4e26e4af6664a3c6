"""`training:` of a task file: what is refused by name, and what an older file keeps."""

import re
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from ratchet.core.digest import digest_of
from ratchet.tasks.spec import TaskSpec
from ratchet.tasks.training_spec import TrainingSpec
from tests.models import DIGITS

CATEGORY = {"name": "late", "type": "category", "classes": ["no", "yes"]}
NUMBER = {"name": "minutes", "type": "number"}
TAGS = {"name": "about", "type": "tags", "classes": ["no", "yes"]}


def task_of(output: dict[str, Any], *, kind: str = "tabular", **training: Any) -> TaskSpec:
    return TaskSpec.model_validate(
        {
            "name": "flights",
            "inputs": [{"name": "distance", "type": "number"}],
            "output": output,
            "model": {"kind": kind},
            "training": training,
        }
    )


@pytest.mark.parametrize(
    ("output", "kind", "training", "says"),
    [
        pytest.param(NUMBER, "tabular", {"class_weights": "balanced"}, "class_weights.*is of type number", id="number"),
        pytest.param(TAGS, "trees", {"class_weights": {"yes": 2}}, "class_weights.*is of type tags", id="tags"),
        pytest.param(TAGS, "text", {"label_smoothing": 0.1}, "label_smoothing.*is of type tags", id="smooth-tags"),
        pytest.param(CATEGORY, "trees", {"label_smoothing": 0.1}, "trees have no label smoothing", id="smooth-trees"),
        pytest.param(CATEGORY, "tabular", {"class_weights": {"maybe": 2}}, "'maybe': no class .* no, yes", id="class"),
        pytest.param(CATEGORY, "tabular", {"class_weights": {"yes": 0}}, "greater than 0", id="no-weight"),
        pytest.param(CATEGORY, "tabular", {"class_weights": "even"}, "'none' or 'balanced'", id="word"),
        pytest.param(NUMBER, "trees", {"calibrate": "temperature"}, "calibrate.*a number has none", id="calibrate"),
        pytest.param(CATEGORY, "tabular", {"label_smoothing": 1}, "less than 1", id="all-smooth"),
    ],
)
def test_what_a_loss_cannot_go_by_is_refused_by_name(output, kind, training, says):
    inputs = {"inputs": [{"name": "distance", "type": "text"}]} if kind == "text" else {}
    with pytest.raises(ValidationError, match=says):
        TaskSpec.model_validate(
            {**task_of(output).model_dump(), "model": {"kind": kind}, "training": training, **inputs}
        )


def test_a_choice_that_is_made_is_written_and_one_that_is_not_is_left_out():
    chosen = task_of(CATEGORY, class_weights={"yes": 3}, label_smoothing=0.1, calibrate="temperature")
    assert TaskSpec.model_validate_json(chosen.model_dump_json()) == chosen
    assert not {"class_weights", "label_smoothing", "calibrate"} & task_of(CATEGORY).training.model_dump().keys()


def test_a_task_file_that_says_nothing_new_keeps_its_digest():
    """It is in the digest of each model and of each checkpoint."""
    before = "63c0f1f514da830a1172f9a6254db228e5dcc9450967a7961825bbf3ecff2ce7"
    assert digest_of(DIGITS.model_dump(mode="json")) == before


def test_the_workers_are_spread_evenly_over_the_nodes_and_one_node_is_not_written():
    assert task_of(CATEGORY, world_size=4, num_nodes=2).training.num_nodes == 2
    with pytest.raises(ValidationError, match="`world_size` 3 over `num_nodes` 2: each node has as many workers"):
        task_of(CATEGORY, world_size=3, num_nodes=2)
    assert "num_nodes" not in task_of(CATEGORY).model_dump()["training"]
    with pytest.raises(ValidationError, match="`world_size` 1 over `num_nodes` 2"):
        task_of(CATEGORY, kind="trees", num_nodes=2)


@pytest.mark.parametrize(
    ("communication", "says"),
    [
        pytest.param({"compress": "int8"}, "communication.compress.*'none', 'bf16', 'fp16' or 'powersgd'", id="word"),
        pytest.param({"bucket_mb": 0}, "communication.bucket_mb.*greater than 0", id="no-bucket"),
        pytest.param({"hook": "mine"}, "communication.hook.*not permitted", id="field"),
    ],
)
def test_a_way_to_communicate_that_is_none_is_refused_by_name(communication, says):
    with pytest.raises(ValidationError, match=re.compile(says, re.DOTALL)):
        task_of(CATEGORY, communication=communication)


def test_a_way_to_communicate_is_written_only_where_it_is_chosen():
    chosen = task_of(CATEGORY, communication={"compress": "bf16"})
    assert TaskSpec.model_validate_json(chosen.model_dump_json()) == chosen
    assert "communication" not in task_of(CATEGORY, communication={"compress": "none"}).training.model_dump()


def test_auto_is_a_word_in_the_place_of_the_mapping():
    task = task_of(CATEGORY)
    said = TaskSpec.model_validate({**task.model_dump(exclude={"training"}), "training": "auto"})
    assert said.training == task.training.model_copy(update={"auto": True}), "the rest is the kind's"
    assert TaskSpec.model_validate_json(said.model_dump_json()) == said
    assert "auto" not in task.training.model_dump()


@pytest.mark.parametrize(
    ("kind", "training", "says"),
    [
        pytest.param("tabular", {"world_size": 4}, "`auto` chooses `world_size`; leave one", id="workers"),
        pytest.param("tabular", {"num_threads": 4}, "`auto` chooses `num_threads`", id="threads"),
        pytest.param("tabular", {"communication": {"bucket_mb": 4}}, "`auto` chooses `communication`", id="buckets"),
        pytest.param("tabular", {"num_nodes": 2}, "`auto` measures one machine", id="nodes"),
        pytest.param("trees", {"world_size": 2}, "trees grow in one process", id="trees"),
    ],
)
def test_what_auto_cannot_choose_is_refused_by_name(kind, training, says):
    with pytest.raises(ValidationError, match=says):
        task_of(CATEGORY, kind=kind, auto=True, **training)


@pytest.mark.parametrize("word", ["on", "off", "graph", "auto", '"off"', '"on"'])
def test_compile_is_read_with_and_without_quotes(word):
    read = TrainingSpec.model_validate(yaml.safe_load(f"compile: {word}"))
    assert read.compile == word.strip('"')
