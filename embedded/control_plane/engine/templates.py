"""Constants with placeholders of other inputs in them: f-strings, and lists and objects around outputs of tasks. Pure.

Source: kubeflow/pipelines, backend/src/v2/component/launcher_v2.go, compileCmdAndArgs: the launcher first puts the
executor's input in place of `{{$}}`, as JSON, then the text of each input in place of its placeholder, anywhere in it,
unescaped. So what stands in a list or an object becomes text, whatever it was.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from embedded.control_plane.engine.go_text import text_of
from embedded.control_plane.engine.placeholders import PARAMETER, fill_text
from embedded.control_plane.engine.spec import Task
from embedded.control_plane.engine.values import Values
from embedded.control_plane.errors import DataRejected

JOB_PLACEHOLDER = re.compile(r"\{\{\$\.(pipeline_\w+)\}\}")


def texts_in(value: Any) -> Iterator[str]:
    """All texts of a JSON value, keys too."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield key
            yield from texts_in(inner)
    elif isinstance(value, (list, tuple)):
        for inner in value:
            yield from texts_in(inner)


def templates_of(task: Task) -> dict[str, Any]:
    """The constants among the inputs of a task that have placeholders of its other inputs in them."""
    constants = {
        name: source.runtime_value.constant for name, source in task.inputs.parameters.items() if source.runtime_value
    }
    return {name: constant for name, constant in constants.items() if _is_template(constant)}


def filled_templates(task: Task, parameters: Mapping[str, Any], *, job: Mapping[str, str]) -> dict[str, Any]:
    """The same with the values in place. DataRejected when one has none."""
    context = {"inputs": {"parameterValues": parameters, "artifacts": {}}, "outputs": {}}
    return {
        name: _mapped(constant, lambda text: fill_text(text, executor_input=context, job=job))
        for name, constant in templates_of(task).items()
    }


def check_templates(task: Task, inputs: Values, words: tuple[str, ...]) -> None:
    """DataRejected when a cluster could not hand a template on: a value in it breaks the JSON that it is put into.

    words: of the container.
    """
    is_in_json = any("{{$}}" in word for word in words)
    for name, constant in templates_of(task).items():
        if isinstance(constant, str) and not is_in_json:
            continue
        for key in (key for text in texts_in(constant) for key in PARAMETER.findall(text)):
            value = text_of(inputs.parameters.get(key))
            # JSON without its quotes is the text itself only where nothing in it needs an escape.
            if json.dumps(value, ensure_ascii=False)[1:-1] != value:
                raise DataRejected(
                    f"input {name!r} is a constant around {key!r}, whose value {value[:80]!r} has quotes, backslashes "
                    "or line breaks: a cluster puts it into JSON unescaped, and the task fails. Pass it as an input of "
                    "its own."
                )


def _is_template(constant: Any) -> bool:
    if isinstance(constant, str) and JOB_PLACEHOLDER.fullmatch(constant):
        return False
    return any("{{$" in text for text in texts_in(constant))


def _mapped(value: Any, change: Callable[[str], str]) -> Any:
    if isinstance(value, str):
        return change(value)
    if isinstance(value, dict):
        return {change(key): _mapped(inner, change) for key, inner in value.items()}
    return [_mapped(inner, change) for inner in value] if isinstance(value, (list, tuple)) else value
