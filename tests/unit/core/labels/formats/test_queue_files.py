"""What a queue writes, a tool fills in and exports, and `import` reads: the same example with the person's label."""

import csv
import io
import json
from typing import Any

import pytest

from ratchet.core.labels.formats.queue_files import WRITERS, QueueItem, label_config
from ratchet.core.labels.queue_marks import QueueMark, parse_mark
from tests.unit.core.labels.formats.reading import AT, DIGITS, FLIGHTS, MAILS, PETS, STARS, TOPICS, read

CASES: dict[str, Any] = {
    "mails": (MAILS, [{"text": "hi, \"you\"\n=1+1"}, {"text": "oh"}], ["good", "bad"], ["bad", "good"]),
    "topics": (TOPICS, [{"body": "a"}, {"body": "b"}], [["art"], []], [["art", "law"], ["war"]]),
    "stars": (STARS, [{"text": "a"}, {"text": "b"}], [3.5, 4.0], [1.0, 2.5]),
    "flights": (FLIGHTS, [{"miles": 5.0, "night": True, "shape": [1.0, 2.0]}, {"miles": 7.5, "night": False}],
                ["no", "yes"], ["yes", "no"]),
    "digits": (DIGITS, [{"features": [0.0, 1.5]}, {"features": [2.0, 3.0]}], ["0", "1"], ["1", "0"]),
    "pets": (PETS, [{"picture": "s3://pets/a.png"}, {"picture": "s3://pets/b.png"}], ["cat", "dog"], ["dog", "cat"]),
}  # fmt: skip


def items_of(inputs: list[dict[str, Any]], answers: list[Any]) -> list[QueueItem]:
    """The first is audited and blind."""
    return [
        QueueItem(f"ex-{number}", each, ("audit", "margin")[number], number == 0, answer, 0.6, "digest")
        for number, (each, answer) in enumerate(zip(inputs, answers, strict=True))
    ]


def labelled_jsonl(data: bytes, labels: list[Any]) -> bytes:
    lines = [json.loads(line) for line in data.splitlines()]
    for line, label in zip(lines, labels, strict=True):
        line.update(label=label, labeler="eva", labeled_at=AT)
    return b"".join(json.dumps(line).encode() + b"\n" for line in lines)


def labelled_label_studio(data: bytes, labels: list[Any]) -> bytes:
    """As its JSON export has it: the data as it came, the predictions, and the annotation."""
    tasks = json.loads(data)
    for number, (task, label) in enumerate(zip(tasks, labels, strict=True)):
        value = (
            {"number": label}
            if isinstance(label, float)
            else {"choices": label if isinstance(label, list) else [label]}
        )
        kind = "number" if isinstance(label, float) else "choices"
        result = [{"from_name": "any", "to_name": "x", "type": kind, "value": value}]
        task.update(
            id=number + 70, annotations=[{"completed_by": {"email": "eva"}, "result": result, "updated_at": AT}]
        )
    return json.dumps(tasks).encode()


def labelled_doccano(data: bytes, labels: list[Any]) -> bytes:
    lines = [json.loads(line) for line in data.splitlines()]
    for number, (line, label) in enumerate(zip(lines, labels, strict=True)):
        line.update(id=number + 70, label=label if isinstance(label, list) else [str(label)])
    return b"".join(json.dumps(line).encode() + b"\n" for line in lines)


def labelled_csv(data: bytes, labels: list[Any]) -> bytes:
    rows = list(csv.DictReader(io.StringIO(data.decode(), newline="")))
    file = io.StringIO()
    writer = csv.DictWriter(file, rows[0].keys())
    writer.writeheader()
    for row, label in zip(rows, labels, strict=True):
        writer.writerow({**row, "label": "|".join(label) if isinstance(label, list) else str(label), "labeler": "eva"})
    return file.getvalue().encode()


def labelled_argilla(data: bytes, labels: list[Any]) -> bytes:
    """As `dataset.records.to_json` has it: metadata and suggestions as they came, and the response."""
    records = json.loads(data)
    for record, label in zip(records, labels, strict=True):
        response = {"value": label, "user_id": "eva", "status": "submitted", "updated_at": AT}
        record.update(responses={"any": [response]}, _server_id="5f1e", status="completed")
    return json.dumps(records).encode()


FILLED = {
    "argilla": labelled_argilla,
    "jsonl": labelled_jsonl,
    "label-studio": labelled_label_studio,
    "doccano": labelled_doccano,
    "csv": labelled_csv,
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("name", WRITERS)
def test_a_queue_comes_back_as_labels_of_the_same_examples(name, case):
    schema, inputs, answers, labels = CASES[case]
    if name == "doccano" and not any(schema.of_type("text")):
        return
    written = b"".join(WRITERS[name](items_of(inputs, answers), schema))
    lines, left = read(name, FILLED[name](written, labels), schema, labeler="eva")
    assert [line["id"] for line in lines] == ["ex-0", "ex-1"], left
    assert [line["label"] for line in lines] == labels
    assert [line.get("inputs") or {"features": line["features"]} for line in lines] == inputs
    assert {(line["labeler"], line["labeled_at"]) for line in lines} == {("eva", AT)}
    marks = [parse_mark(line["queue_mark"], line["id"]) for line in lines]
    assert marks == [QueueMark("audit", True, answers[0], "digest"), QueueMark("margin", False, answers[1], "digest")]
    assert all(why == "prediction" for why, _ in left)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("name", ["jsonl", "label-studio", "argilla", "csv"])
def test_an_unlabelled_queue_lands_nothing(name, case):
    schema, inputs, answers, _ = CASES[case]
    lines, left = read(name, b"".join(WRITERS[name](items_of(inputs, answers), schema)), schema, labeler="eva")
    assert lines == [] and {why for why, _ in left} <= {"unlabelled", "prediction"}, "no answer of the model is a label"


@pytest.mark.parametrize("name", WRITERS)
def test_a_blind_example_shows_no_answer(name):
    schema, inputs, answers, _ = CASES["mails"]
    blind, shown = items_of(inputs, answers)
    assert b"good" not in b"".join(WRITERS[name]([blind], schema)) and b"bad" in b"".join(
        WRITERS[name]([shown], schema)
    )
    marks = b"".join(WRITERS[name]([blind], schema))
    assert b"audit" in marks and b"blind" in marks


def test_an_empty_queue_is_a_whole_file():
    assert json.loads(b"".join(WRITERS["label-studio"]([], MAILS))) == []


def test_label_studios_interface_has_the_names_of_the_predictions():
    [task] = json.loads(b"".join(WRITERS["label-studio"](items_of(*CASES["mails"][1:3])[1:], MAILS)))
    [result] = task["predictions"][0]["result"]
    config = label_config(MAILS)
    assert f'<Choices name="{result["from_name"]}" toName="{result["to_name"]}" choice="single">' in config
    assert '<Text name="text" value="$text"/>' in config and '<Choice value="good"/>' in config
