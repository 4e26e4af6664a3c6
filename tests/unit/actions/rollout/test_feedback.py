"""Feedback: what is accepted, and how often each model was right."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from cli.main import app
from ratchet import wiring
from ratchet.actions.models.classes import OutputInUse
from ratchet.actions.rollout.feedback import accept_feedback, measure_accuracy
from ratchet.core.errors import DataRejected
from ratchet.core.labels.schema import CategoryOutput, NumberOutput, TagsOutput
from ratchet.core.rollout.feedback import ITEMS_MAX, Accuracy, accuracy_interval, join_feedback, parse_feedback
from ratchet.core.rollout.payloads import Feedback, LabelValue, Prediction
from tests.fakes.ledger import FakeLedger
from tests.fakes.object_store import FakeObjectStore
from tests.fakes.payload_log import FakeFeedbackStore, FakePayloadLog
from tests.wired import wire

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
DIGIT = CategoryOutput(classes=tuple("0123456789"))


def prediction(request_id: str, labels: str, *, model: str = "stable") -> Prediction:
    return Prediction(
        request_id=request_id,
        at=NOON,
        model_digest=model,
        latency_ms=1,
        features=((0.0,),) * len(labels),
        labels=tuple(labels),
        probabilities=(0.9,) * len(labels),
    )


def said(request_id: str, label: LabelValue, *, instance: int = 0, minute: int = 0) -> Feedback:
    return Feedback(request_id=request_id, instance=instance, label=label, at=NOON + timedelta(minutes=minute))


@pytest.mark.parametrize(
    ("predictions", "feedback", "by_model", "num_unmatched"),
    [
        pytest.param([], [], {}, 0, id="nothing"),
        pytest.param([prediction("a", "12")], [said("a", "1"), said("a", "9", instance=1)], {"stable": (2, 1)}, 0,
                     id="one-of-two"),
        pytest.param([prediction("a", "1")], [said("b", "1"), said("a", "1", instance=7)], {}, 2, id="of-nobody"),
        pytest.param([prediction("a", "1"), prediction("a", "2", model="canary")], [said("a", "2")],
                     {"stable": (1, 0), "canary": (1, 1)}, 0, id="mirrored"),
        pytest.param([prediction("a", "1")], [said("a", "1", minute=2), said("a", "3", minute=1)],
                     {"stable": (1, 1)}, 0, id="the-last-counts"),
        pytest.param([prediction("a", "1")], [said("a", "3"), said("a", "1")], {"stable": (1, 1)}, 0,
                     id="of-two-at-once-the-later"),
        pytest.param([prediction("a", "1")] * 3, [said("a", "1")] * 3, {"stable": (1, 1)}, 0, id="sent-again"),
    ],
)  # fmt: skip
def test_how_often_each_model_was_right(predictions, feedback, by_model, num_unmatched):
    joined = join_feedback(predictions, feedback)
    assert {model: (each.num_known, each.num_right) for model, each in joined.by_model.items()} == by_model
    assert joined.num_unmatched == num_unmatched


ITEMS = st.lists(
    st.builds(said, st.sampled_from("abcd"), st.sampled_from("12"), instance=st.integers(0, 3),
              minute=st.integers(0, 5)), max_size=30,
)  # fmt: skip
ANSWERS = st.lists(
    st.builds(prediction, st.sampled_from("abc"), st.text("12", min_size=1, max_size=3),
              model=st.sampled_from(["stable", "canary"])),
    max_size=20, unique_by=lambda p: (p.request_id, p.model_digest),
)  # fmt: skip


@given(ANSWERS, ITEMS)
def test_every_instance_counts_once_a_model_or_is_unmatched(predictions, feedback):
    joined = join_feedback(predictions, feedback)
    named = {(item.request_id, item.instance) for item in feedback}
    assert joined.num_feedback == len(named)
    for model, accuracy in joined.by_model.items():
        answered = {(p.request_id, n) for p in predictions if p.model_digest == model for n in range(len(p.labels))}
        assert accuracy.num_known == len(answered & named)
        assert 0 <= accuracy.num_right <= accuracy.num_known
    everywhere = {(p.request_id, n) for p in predictions for n in range(len(p.labels))}
    assert joined.num_unmatched == len(named - everywhere)
    assert join_feedback(predictions, [*feedback, *feedback]) == joined, "feedback that is sent twice counts once"
    assert join_feedback(reversed(predictions), feedback).by_model == joined.by_model


@pytest.mark.parametrize(
    ("body", "num"),
    [
        pytest.param({"request_id": "a", "label": "7"}, 1, id="one-item"),
        pytest.param(
            {"feedback": [{"request_id": "a", "instance": 3, "label": "7"}] * ITEMS_MAX}, ITEMS_MAX, id="most"
        ),
    ],
)
def test_what_is_accepted(body, num):
    items = parse_feedback(body, output=DIGIT, now=NOON)
    assert len(items) == num and items[0].at == NOON


@pytest.mark.parametrize(
    ("body", "said"),
    [
        pytest.param([], "The body must be", id="a-list"),
        pytest.param(None, "The body must be", id="nothing"),
        pytest.param({"feedback": {}}, "The body must be", id="no-list"),
        pytest.param({"feedback": []}, "0 items", id="no-items"),
        pytest.param({"feedback": [{}] * (ITEMS_MAX + 1)}, "1001 items", id="too-many"),
        pytest.param({"feedback": [{"request_id": "a", "label": "7"}, 3]}, "feedback[1] must be", id="no-object"),
        pytest.param({"feedback": [{"label": "7"}]}, "feedback[0]: `request_id` is missing", id="whose"),
        pytest.param({"request_id": "a" * 257, "label": "7"}, "request_id", id="too-long"),
        pytest.param({"request_id": "a", "label": "7", "instance": -1}, "instance", id="negative"),
        pytest.param({"request_id": "a", "label": "seven"}, "`label` must be one of", id="no-class"),
        pytest.param({"request_id": "a", "label": "7", "colour": "red"}, "colour", id="unknown-field"),
        pytest.param(
            {"request_id": "a", "label": "7", "at": "2020-01-01T00:00:00Z"}, "`at` is not a field here", id="time"
        ),
    ],
)
def test_what_is_refused_says_why(body, said):
    with pytest.raises(DataRejected) as refused:
        parse_feedback(body, output=DIGIT, now=NOON)
    assert said in str(refused.value) and len(str(refused.value)) < 500


MINUTES = NumberOutput(min=0, max=1_000, tolerance=1.0)
TOPICS = TagsOutput(classes=("far", "night"))


@pytest.mark.parametrize(
    ("output", "label", "kept"),
    [
        pytest.param(MINUTES, 7, 7.0, id="number"),
        pytest.param(TOPICS, ["night", "far"], ("night", "far"), id="tags"),
        pytest.param(TOPICS, [], (), id="no-tags"),
    ],
)
def test_a_label_is_read_by_the_type_of_the_output(output, label, kept):
    (item,) = parse_feedback({"request_id": "a", "label": label}, output=output, now=NOON)
    assert item.label == kept
    assert Feedback.model_validate_json(item.model_dump_json()) == item, "and is the same when it was stored"


@pytest.mark.parametrize(
    ("output", "label", "said"),
    [
        pytest.param(MINUTES, "7", "`label` must be a finite number, found '7'", id="text-for-a-number"),
        pytest.param(MINUTES, True, "`label` must be a finite number, found true", id="boolean-for-a-number"),
        pytest.param(MINUTES, 10**400, "`label` must be a finite number", id="huge"),
        pytest.param(MINUTES, -1, "`label` is -1, expected 0 to 1000", id="out-of-range"),
        pytest.param(TOPICS, "far", "`label` must be a list of texts", id="text-for-tags"),
        pytest.param(TOPICS, ["far", "near"], "`label[1]` must be one of 'far', 'night', found 'near'", id="no-tag"),
        pytest.param(TOPICS, [1], "`label` must be a list of texts", id="number-in-tags"),
        pytest.param(DIGIT, 7, "`label` must be a text of 1 to 256 characters", id="number-for-a-class"),
        pytest.param(DIGIT, ["7"], "`label` must be a text of 1 to 256 characters", id="list-for-a-class"),
    ],
)
def test_a_label_of_another_type_is_refused(output, label, said):
    with pytest.raises(DataRejected) as refused:
        parse_feedback({"request_id": "a", "label": label}, output=output, now=NOON)
    assert said in str(refused.value)


@pytest.mark.parametrize(
    ("answers", "truth", "tolerance", "known_and_right"),
    [
        pytest.param((7.0, 9.5, 12.0), (7.0, 9.0, 10.0), 1.0, (3, 2), id="numbers"),
        pytest.param((7.0, 9.5), (7.0, 9.0), None, (0, 0), id="numbers-without-a-tolerance"),
        pytest.param((("a", "b"), ("a",), ()), (("b", "a"), ("b",), ()), None, (3, 2), id="tags"),
        pytest.param(("7", 7.0), (7.0, 7.0), 1.0, (1, 1), id="another-type-before-the-task-changed"),
    ],
)
def test_right_or_wrong_is_said_by_type_or_not_at_all(answers, truth, tolerance, known_and_right):
    asked = {"features": ((0.0,),) * len(answers), "labels": answers, "probabilities": ()}
    items = [said("a", label, instance=number) for number, label in enumerate(truth)]
    joined = join_feedback([prediction("a", "1").model_copy(update=asked)], items, tolerance=tolerance)
    found = joined.by_model["stable"]
    assert (found.num_known, found.num_right) == known_and_right and joined.num_unmatched == 0


@given(st.integers(0, 2_000), st.floats(0, 1), st.floats(0.5, 0.999))
def test_an_interval_holds_the_ratio_and_shrinks(num_known, share, confidence):
    accuracy = Accuracy(num_known=num_known, num_right=round(num_known * share))
    low, high = accuracy_interval(accuracy, confidence=confidence)
    assert 0 <= low <= (accuracy.ratio if accuracy.ratio is not None else 0.5) + 1e-12
    assert (accuracy.ratio if accuracy.ratio is not None else 0.5) - 1e-12 <= high <= 1
    if num_known:
        more = Accuracy(num_known=4 * num_known, num_right=4 * accuracy.num_right)
        narrow_low, narrow_high = accuracy_interval(more, confidence=confidence)
        assert narrow_high - narrow_low < high - low


def test_an_interval_of_wilson():
    low, high = accuracy_interval(Accuracy(num_known=10, num_right=8), confidence=0.95)
    assert (round(low, 4), round(high, 4)) == (0.4902, 0.9433)


@pytest.fixture
def stores(monkeypatch):
    stores = FakePayloadLog(), FakeFeedbackStore()
    wire(
        monkeypatch,
        payload_log=lambda: stores[0],
        feedback_store=lambda: stores[1],
    )
    in_use = OutputInUse(FakeLedger(), FakeObjectStore(), output_of=lambda task: wiring.task_spec(task).output)
    wire(monkeypatch, output_in_use=lambda: in_use)
    return stores


def test_accuracy_is_of_what_was_logged_since(stores):
    payloads, feedback = stores
    payloads.predictions += [prediction("a", "1"), prediction("b", "2")]
    assert accept_feedback(feedback, "digits", [said("a", "1"), said("b", "3")]) == 2
    joined = measure_accuracy(payloads, feedback, "digits", since=NOON)
    assert joined.by_model == {"stable": Accuracy(num_known=2, num_right=1)}
    assert measure_accuracy(payloads, feedback, "digits", since=NOON + timedelta(hours=1)).by_model == {}
    with pytest.raises(DataRejected, match="in parts"):
        accept_feedback(feedback, "digits", [said("a", "1")] * (ITEMS_MAX + 1))


def test_push_then_show(stores, tmp_path):
    stores[0].predictions.append(prediction("a", "17").model_copy(update={"at": datetime.now(UTC)}))
    file = tmp_path / "truth.jsonl"
    file.write_text('{"request_id": "a", "label": "1"}\n\n{"request_id": "a", "instance": 1, "label": "2"}\n'
                    '{"request_id": "zzz", "label": "2"}\n')  # fmt: skip
    assert "3 labels" in CliRunner().invoke(app, ["feedback", "push", str(file), "-t", "digits"]).output
    shown = CliRunner().invoke(app, ["feedback", "show", "-t", "digits", "--json"])
    assert '"num_known": 2' in shown.stdout and '"num_unmatched": 1' in shown.stdout, shown.output
    table = CliRunner().invoke(app, ["feedback", "show", "-t", "digits"])
    assert "0.5" in table.output and "match no logged request" in table.output


@pytest.mark.parametrize(
    ("content", "said"),
    [
        pytest.param('{"request_id": "a", "label": "1"}\n{', "line 2: not JSON", id="not-json"),
        pytest.param('{"request_id": "a", "label": "x"}', "line 1: `label` must be one of '0', '1'", id="no-class"),
        pytest.param("\n", "no feedback", id="empty"),
    ],
)
def test_a_wrong_file_is_refused_whole(stores, tmp_path, content, said):
    file = tmp_path / "truth.jsonl"
    file.write_text(content)
    result = CliRunner().invoke(app, ["feedback", "push", str(file), "-t", "digits"])
    assert isinstance(result.exception, DataRejected) and said in str(result.exception)
    assert list(stores[1].list_feedback("digits", since=NOON)) == []
