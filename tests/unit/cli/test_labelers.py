"""`ratchet labelers`: the table, the page of one, JSON, and names that do not exist."""

import json
from typing import Any

import pytest
from typer.testing import CliRunner

from cli import names
from cli.main import app
from ratchet import wiring
from ratchet.core.errors import NotFound
from ratchet.core.labels.queue_marks import QueueMark, render_mark
from ratchet.core.labels.shards import ShardCounts, render_labels
from tests.components.data import digit_labels
from tests.fakes.dataset_store import FakeDatasetStore
from tests.stores import label_stores
from tests.wired import wire

pytestmark = pytest.mark.usefixtures("world")


@pytest.fixture(autouse=True)
def stores(world: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    made = label_stores(wiring.label_store(), FakeDatasetStore(), wiring.object_store())
    wire(monkeypatch, label_stores=lambda: made)
    for name, num_wrong in (("ann", 0), ("bo [b]", 0), ("carl", 30)):
        data = render_labels(digit_labels(range(80), labeler=name, num_wrong=num_wrong))
        made.labels.put_shard("digits", data, num_labels=80, counts=ShardCounts(num_by_labeler={name: 80}))
    return made


def invoke(*words: str) -> Any:
    return CliRunner().invoke(app, ["labelers", *words])


def test_the_list_has_a_row_a_labeler_and_says_how_much_was_read() -> None:
    result = invoke("list", "--task", "digits")
    assert result.exit_code == 0, result.output
    assert "bo [b]" in result.stdout and "suspected" in result.stdout and "trusted" in result.stdout
    assert "digits: read 240 opinions in 3 shards" in result.stderr
    told = json.loads(invoke("list", "--json").stdout)
    assert [(row["task"], row["labeler"], row["status"]) for row in told["labelers"]] == [
        ("digits", "ann", "trusted"), ("digits", "bo [b]", "trusted"), ("digits", "carl", "suspected")]  # fmt: skip
    carl = told["labelers"][2]["agreement"]
    assert carl["agreement_low"] < carl["agreement_ratio"] < carl["agreement_high"]
    assert carl["coefficient"]["low"] < carl["coefficient"]["value"] < carl["coefficient"]["high"]
    assert next(each for each in told["read"] if each["task"] == "digits")["num_shards_left"] == 0


def test_labels_of_a_queue_tell_the_pull_and_the_champions_accuracy(stores: Any) -> None:
    assert "pull" not in invoke("list", "--task", "digits").stdout
    labels = [
        label.model_copy(update={"queue_mark": render_mark(QueueMark("audit", row % 2 == 0, "0", "abc"), label.id)})
        for row, label in enumerate(digit_labels(range(100, 150), labeler="dora"))
    ]
    stores.labels.put_shard("digits", render_labels(labels), num_labels=50)
    listed = invoke("list", "--task", "digits").stdout
    assert "pull" in listed and "digits: the champion abc is right on " in listed.replace("\n", " ")
    assert "labels of 'dora' are the champion's answer on" in invoke("show", "dora").stdout.replace("\n", " ")
    told = json.loads(invoke("list", "--task", "digits", "--json").stdout)
    by_name = {row["labeler"]: row["anchoring"] for row in told["labelers"]}
    assert by_name["ann"] is None and (by_name["dora"]["num_shown"], by_name["dora"]["num_blind"]) == (25, 25)
    [queued] = told["queued"]
    assert queued["anchoring"]["pull"]["low"] < 0 and queued["audits"][0]["num"] == 50


def test_one_labeler_is_shown_with_classes_confusions_and_examples() -> None:
    result = invoke("show", "carl")
    assert result.exit_code == 0, result.output
    assert "carl, task digits: suspected" in result.stdout and "others say" in result.stdout
    assert "10 of 30 examples of disagreement:" in result.stdout and "digit-" in result.stdout
    [told] = json.loads(invoke("show", "carl", "--json").stdout)["labelers"]
    assert len(told["agreement"]["by_class"]) == 10 and told["differences"]["num"] == 30


def test_an_unknown_name_is_one_line_with_the_nearest_ones() -> None:
    result = invoke("show", "carla", "--task", "digits")
    assert isinstance(result.exception, NotFound) and result.stdout == ""
    assert "near: 'carl'" in str(result.exception) and "\n" not in str(result.exception)


def test_names_are_completed_from_the_newest_shards() -> None:
    assert names.complete_labeler("b") == ["bo [b]"] and names.complete_labeler("") == ["ann", "bo [b]", "carl"]
