"""A queue as the files that labelling tools import: the example, and the champion's answer as a pre-annotation. Pure.

Each carries the example's id and its mark (`queue_marks`) through the tool and back to `ratchet labels import`. What
the mark says stands beside it for people, who sort and filter by it; an input of the same name comes before it.
"""

import csv
import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from ratchet.core.labels.formats.fields import EXAMPLE_ID, TAGS_SEPARATOR
from ratchet.core.labels.formats.items import LeftOut, read_objects_of
from ratchet.core.labels.queue_marks import QUEUE_MARK, QueueMark, render_mark
from ratchet.core.labels.schema import ExampleSchema, NumberOutput, TagsOutput

_MARKS = ("audit", "blind", "reason", QUEUE_MARK)


class QueueItem(NamedTuple):
    id: str
    inputs: Mapping[str, Any]
    """By name, as label lines have them."""
    reason: str
    is_blind: bool
    label: Any = None
    """The champion's answer, None when it was not asked."""
    probability: float | None = None
    model: str = ""
    """Digest of the champion."""

    @property
    def shown(self) -> Any:
        """The answer that labelers see."""
        return None if self.is_blind else self.label

    @property
    def marks(self) -> dict[str, Any]:
        mark = QueueMark(self.reason, self.is_blind, self.label, self.model)
        told = {"audit": mark.is_audit, "blind": self.is_blind, "reason": self.reason}
        return {**told, QUEUE_MARK: render_mark(mark, self.id)}


def render_jsonl(items: Sequence[QueueItem], schema: ExampleSchema) -> Iterator[bytes]:
    short = schema.short_input
    for item in items:
        shown = {"features": item.inputs.get(short.name)} if short else {"inputs": dict(item.inputs)}
        answer = {} if item.shown is None else {"champion": {"label": item.shown, "probability": item.probability}}
        yield _json({"id": item.id, **shown, "label": None, **answer, **item.marks})


def render_label_studio(items: Sequence[QueueItem], schema: ExampleSchema) -> Iterator[bytes]:
    """Tasks with predictions; the control is called as the task's output, the object as its first input."""
    for number, item in enumerate(items):
        data = {EXAMPLE_ID: item.id, **item.marks, **item.inputs}
        predictions = [] if item.shown is None else [_prediction(item, schema)]
        yield (b"[\n" if number == 0 else b",\n") + _json({"data": data, "predictions": predictions}).rstrip(b"\n")
    yield b"\n]\n" if items else b"[]\n"


def render_doccano(items: Sequence[QueueItem], schema: ExampleSchema) -> Iterator[bytes]:
    """Lines of a project for text classification; what is not the text is kept as the example's metadata."""
    text = next(each.name for each in schema.inputs if each.type == "text")
    for item in items:
        others = {name: value for name, value in item.inputs.items() if name != text}
        shown = item.shown
        labels = [] if shown is None else shown if isinstance(shown, list) else [str(shown)]
        kept = {EXAMPLE_ID: item.id, **item.marks, **others}
        yield _json({"text": item.inputs.get(text, ""), "label": labels, **kept})


def render_argilla(items: Sequence[QueueItem], schema: ExampleSchema) -> Iterator[bytes]:
    """Records as `dataset.records.from_json` reads them: inputs as texts, the answer as a suggestion, marks as
    metadata."""
    for number, item in enumerate(items):
        record = {
            "id": item.id,
            "fields": {name: _cell(value) for name, value in item.inputs.items() if value is not None},
            "metadata": {name: _cell(value) for name, value in item.marks.items()},
            "suggestions": {} if item.shown is None else {schema.output.name: _suggestion(item)},
            "responses": {},
            "vectors": {},
        }
        yield (b"[\n" if number == 0 else b",\n") + _json(record).rstrip(b"\n")
    yield b"\n]\n" if items else b"[]\n"


def render_csv(items: Sequence[QueueItem], schema: ExampleSchema) -> Iterator[bytes]:
    """The columns `label` and `labeler` are empty: people fill them in."""
    inputs = [f"inputs.{each.name}" for each in schema.inputs]
    yield _csv(["id", *inputs, "champion", "probability", *_MARKS, "label", "labeler"])
    for item in items:
        cells = [_cell(item.inputs.get(each.name)) for each in schema.inputs]
        probability = item.probability if item.shown is not None else None
        marks = [_cell(value) for value in item.marks.values()]
        yield _csv([item.id, *cells, _cell(item.shown), _cell(probability), *marks, "", ""])


WRITERS: Mapping[str, Callable[[Sequence[QueueItem], ExampleSchema], Iterator[bytes]]] = {
    "jsonl": render_jsonl,
    "label-studio": render_label_studio,
    "doccano": render_doccano,
    "argilla": render_argilla,
    "csv": render_csv,
}


def marks_in(data: bytes) -> dict[str, str]:
    """Example id to mark, of a queue in any of these formats but CSV. UnreadableFile: it is not JSON."""
    found = {}
    for each in read_objects_of(data, what="item"):
        if isinstance(each, LeftOut):
            continue
        item = each[1]
        inner = (item.get("data"), item.get("metadata"))
        fields = {name: value for part in (item, *inner) if isinstance(part, dict) for name, value in part.items()}
        example_id, mark = fields.get(EXAMPLE_ID, item.get("id")), fields.get(QUEUE_MARK)
        if isinstance(example_id, str) and isinstance(mark, str):
            found[example_id] = mark
    return found


def _suggestion(item: QueueItem) -> dict[str, Any]:
    return {"value": item.shown, "score": item.probability, "agent": item.model or None}


def _prediction(item: QueueItem, schema: ExampleSchema) -> dict[str, Any]:
    output = schema.output
    kind, value = "choices", {"choices": item.shown if isinstance(item.shown, list) else [item.shown]}
    if isinstance(output, NumberOutput):
        kind, value = "number", {"number": item.shown}
    result = {"from_name": output.name, "to_name": schema.inputs[0].name, "type": kind, "value": value}
    score = {} if item.probability is None else {"score": item.probability}
    return {"model_version": item.model, **score, "result": [result]}


def label_config(schema: ExampleSchema) -> str:
    """The labelling interface of Label Studio for this task, with the names that predictions and `import` have."""
    output = schema.output
    tags = {"image": "Image", "text": "Text"}
    shown = [
        f"  <{tags.get(each.type, 'Text')} name={_quoted(each.name)} value={_quoted('$' + each.name)}/>"
        for each in schema.inputs
    ]
    to = f"name={_quoted(output.name)} toName={_quoted(schema.inputs[0].name)}"
    if isinstance(output, NumberOutput):
        control = [f'  <Number {to} required="true"/>']
    else:
        choice = "multiple" if isinstance(output, TagsOutput) else "single"
        control = [f'  <Choices {to} choice="{choice}">']
        control += [f"    <Choice value={_quoted(name)}/>" for name in output.classes] + ["  </Choices>"]
    return "\n".join(["<View>", *shown, *control, "</View>"])


def _quoted(text: str) -> str:
    for char, escaped in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ('"', "&quot;"), ("\n", "&#10;")):
        text = text.replace(char, escaped)
    return f'"{text}"'


def _json(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


def _csv(cells: Sequence[str]) -> bytes:
    row = io.StringIO()
    csv.writer(row).writerow(cells)
    return row.getvalue().encode()


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list) and value and all(isinstance(each, str) for each in value):
        return TAGS_SEPARATOR.join(value)
    return value if isinstance(value, str) else json.dumps(value)
