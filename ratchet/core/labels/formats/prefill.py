"""The champion's answer as Label Studio shows it before a person labels: the control of the project's labelling
interface, and the value in that control's own form. Pure.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple
from xml.parsers import expat

from ratchet.core.labels.formats.items import UnreadableFile, WrongItem
from ratchet.core.labels.queueing import BLIND_SHARE, draw
from ratchet.core.labels.schema import ExampleSchema, NumberOutput
from wire.printable import listed, printable

CONFIG_CHARS_MAX = 1 << 20
"""Of a labelling interface; one with 10,000 choices has half of it."""
_KINDS = {"Choices": "choices", "Taxonomy": "taxonomy", "Number": "number", "Rating": "rating", "TextArea": "textarea"}
"""Tag of a control to the type of its results."""
_OF_NUMBERS = frozenset({"number", "rating", "textarea"})
_OF_CLASSES = frozenset({"choices", "taxonomy", "textarea"})


class Control(NamedTuple):
    name: str
    shown: str
    """Name of the object that it labels (`toName`)."""
    kind: str
    paths: Mapping[str, tuple[str, ...]] = {}
    """Each choice to its path from the root; of a control that takes its choices from the task, none."""


def is_left_blind(example_id: str) -> bool:
    """Whether labelers see this example without the champion's answer: a tenth of all ids, by hash, the same always."""
    return bool(draw([example_id], "blind:prefill")[0] < BLIND_SHARE)


def control_in(label_config: str, schema: ExampleSchema) -> Control:
    """The control that is called as the task's output, or the only one that can hold it.

    UnreadableFile: the interface is no XML of Label Studio. WrongItem: no control, or several, could hold the answer.
    """
    taken = _OF_NUMBERS if isinstance(schema.output, NumberOutput) else _OF_CLASSES
    found = [each for each in _controls_in(label_config) if each.kind in taken]
    named = [each for each in found if each.name == schema.output.name] or found
    if len(named) == 1:
        return named[0]
    tags = ", ".join(tag for tag, kind in _KINDS.items() if kind in taken)
    names = f"{len(named)} ({listed([each.name for each in named], num_max=4)})" if named else "none"
    raise WrongItem(f"the labelling interface needs one control ({tags}) named {schema.output.name!r}, found {names}")


def result_of(answer: Any, control: Control) -> list[dict[str, Any]]:
    """`result` of a prediction. WrongItem: the control cannot show this answer."""
    answers = answer if isinstance(answer, list) else [answer]
    value: Any = answers
    match control.kind:
        case "choices":
            value = [_path_of(each, control)[-1] for each in answers]
        case "taxonomy":
            value = [list(_path_of(each, control)) for each in answers]
        case "number":
            value = answer
        case "rating":  # stars: whole, and at least one
            value = max(round(answer), 1)
        case "textarea":
            value = [str(each) for each in answers]
    field = "text" if control.kind == "textarea" else control.kind
    return [{"from_name": control.name, "to_name": control.shown, "type": control.kind, "value": {field: value}}]


def _path_of(answer: Any, control: Control) -> tuple[str, ...]:
    if control.paths and answer not in control.paths:
        shown = printable(str(answer), chars_max=80)
        raise WrongItem(f"the control {control.name!r} has no choice {shown!r}; add it to the labelling interface")
    return control.paths.get(answer, (str(answer),))


class _Interface:
    """What the parser has seen so far."""

    def __init__(self) -> None:
        self.controls: list[Control] = []
        self._paths: dict[str, tuple[str, ...]] = {}
        self._open: list[str] = []
        """Of the choices around this place."""

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        if tag in _KINDS and attributes.get("name"):
            self._paths, self._open = {}, []
            shown = attributes.get("toName", "").partition(",")[0].strip()
            self.controls.append(Control(attributes["name"], shown, _KINDS[tag], self._paths))
        elif tag == "Choice":
            # Label Studio writes the alias into results where a choice has one.
            self._open.append(attributes.get("alias") or attributes.get("value", ""))
            self._paths.setdefault(self._open[-1], tuple(self._open))

    def end(self, tag: str) -> None:
        if tag == "Choice":
            self._open.pop()

    def refuse_doctype(self, *_: object) -> None:
        raise UnreadableFile("the labelling interface has a document type (<!DOCTYPE …>), which is not allowed")


def _controls_in(label_config: str) -> list[Control]:
    if len(label_config) > CONFIG_CHARS_MAX:
        raise UnreadableFile(
            f"the labelling interface has {len(label_config):,} characters; the limit is {CONFIG_CHARS_MAX:,}"
        )
    found = _Interface()
    parser = expat.ParserCreate("utf-8")
    parser.StartElementHandler, parser.EndElementHandler = found.start, found.end
    parser.StartDoctypeDeclHandler = parser.EntityDeclHandler = found.refuse_doctype
    try:
        parser.Parse(label_config.encode(errors="replace"), True)
    except expat.ExpatError as error:
        message = expat.errors.messages[error.code]
        raise UnreadableFile(f"the labelling interface, line {error.lineno}: not XML ({message})") from None
    return found.controls
