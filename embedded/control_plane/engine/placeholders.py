"""`{{$…}}` in commands, arguments, environment and constants, and the `IfPresent`/`Concat` of container components.

Sources: kfp.dsl.placeholders (what the compiler writes) and the launcher's executor input. Text that comes out of a
task is never searched for placeholders: only what the author of the pipeline wrote is.
"""

import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from embedded.control_plane.engine.definitions import Definitions
from embedded.control_plane.engine.go_text import argument_of, json_of, text_of
from embedded.control_plane.errors import DataRejected
from wire.printable import printable
from wire.strict_json import parse_json

_OPEN, _CLOSE = "{{$", "}}"
PARAMETER = re.compile(r"\.inputs\.parameters\['([^']+)'\]")
_OUTPUT_PARAMETER = re.compile(r"\.outputs\.parameters\['([^']+)'\]\.output_file")
_ARTIFACT = re.compile(r"\.(inputs|outputs)\.artifacts\['([^']+)'\]\.(path|uri|name|metadata)((?:\['[^']+'\])*)")
ADDRESS = "remoteUri"
"""Key of an artifact in the executor's input: its address, when `uri` is a local copy."""
JOB_NAMES = (
    "pipeline_job_name",
    "pipeline_job_resource_name",
    "pipeline_job_uuid",
    "pipeline_task_name",
    "pipeline_task_uuid",
    "pipeline_root",
    "pipeline_job_create_time_utc",
    "pipeline_job_schedule_time_utc",
)
_WORKSPACE = ".workspace_path"
_LIST = re.compile(r"\.inputs\.artifacts\['([^']+)'\]")
"""A list of artifacts in the command of a container component: JSON, as KFP's own sample artifacts_simple reads it."""


def check_placeholders(text: str, *, where: str, is_input: bool = False) -> None:
    """DataRejected for a placeholder that no task here could fill. is_input: the text is an input of a task."""
    for inner in _parts_of(text)[1::2]:
        known = inner in ("", ".outputs.output_file", ".outputMetadataUri") or inner.removeprefix(".") in JOB_NAMES
        known = known or (is_input and inner == _WORKSPACE)
        if not known and not any(p.fullmatch(inner) for p in (PARAMETER, _OUTPUT_PARAMETER, _ARTIFACT, _LIST)):
            raise DataRejected(f"{where}: the placeholder {{{{${inner}}}}} is not supported by this backend.")


def check_declared(texts: Iterable[str], inputs: Definitions, outputs: Definitions, *, where: str) -> None:
    """DataRejected for a placeholder of an input or output that the component does not declare."""
    for inner in (inner for text in texts for inner in _parts_of(text)[1::2]):
        if match := PARAMETER.fullmatch(inner):
            is_known = match[1] in inputs.parameters
        elif match := _OUTPUT_PARAMETER.fullmatch(inner):
            is_known = match[1] in outputs.parameters
        elif match := _ARTIFACT.fullmatch(inner):
            is_known = match[2] in (inputs if match[1] == "inputs" else outputs).artifacts
        elif match := _LIST.fullmatch(inner):
            is_known = match[1] in inputs.artifacts
        else:
            continue
        if not is_known:
            raise DataRejected(f"{where}: the placeholder {{{{${inner}}}}} names nothing that the component declares.")


def fill_text(
    text: str, *, executor_input: Mapping[str, Any], job: Mapping[str, str], say: Callable[[Any], str] = text_of
) -> str:
    """The text with every placeholder replaced; DataRejected when one has no value.

    executor_input: the `ExecutorInput` of the task; for a constant input, what is known of it so far.
    job: values of JOB_NAMES. say: how an input parameter is written.
    """
    parts = _parts_of(text)
    parts[1::2] = [_value_of(inner, executor_input, job, say) for inner in parts[1::2]]
    return "".join(parts)


def fill_command(
    words: tuple[str, ...], *, executor_input: Mapping[str, Any], job: Mapping[str, str], given: frozenset[str]
) -> tuple[str, ...]:
    """Command and arguments, ready to execute; IfPresent may add or drop words.

    given: the input parameters that have a value of their own. One that only has a default is not present, as in
    kubeflow/pipelines, backend/src/v2/driver/util.go, resolveCondition; the launcher adds defaults later.
    """
    filler = _Filler(executor_input, job, given)
    return tuple(filled for word in words for filled in filler.words_of(_structure_of(word)))


@dataclass(frozen=True)
class _Filler:
    executor_input: Mapping[str, Any]
    job: Mapping[str, str]
    given: frozenset[str]

    def words_of(self, element: Any) -> list[str]:
        if isinstance(element, str):
            # The driver fills all but words with outputs in them, and writes numbers in a way of its own.
            say = text_of if "$.outputs" in element else argument_of
            return [fill_text(element, executor_input=self.executor_input, job=self.job, say=say)]
        if isinstance(element, list):
            return [word for part in element for word in self.words_of(part)]
        if "Concat" in element:
            return ["".join(word for part in element["Concat"] for word in self.words_of(part))]
        if "IfPresent" not in element:
            raise DataRejected(f"{sorted(element)} in a command is not supported; IfPresent and Concat are.")
        choice = element["IfPresent"]
        branch = choice.get("Then") if self._is_present(choice["InputName"]) else choice.get("Else")
        return [] if branch is None else self.words_of(branch)

    def _is_present(self, name: str) -> bool:
        return name in self.given or name in self.executor_input["inputs"]["artifacts"]


def check_words(words: Iterable[str], *, where: str) -> None:
    """DataRejected for an IfPresent or Concat that no task could fill, and for what no program can be given."""
    for word in words:
        check_placeholders(word, where=where)
        if "\0" in word:
            raise DataRejected(
                f"{where}: '{printable(word, chars_max=80)}' has a NUL character: no program can be given it."
            )
        try:
            _check_structure(_structure_of(word))
        except ValueError as error:
            raise DataRejected(
                f"{where}: {printable(word, chars_max=80)} is no IfPresent or Concat: {error}."
            ) from None


def _check_structure(element: Any) -> None:
    if isinstance(element, str):
        return
    if isinstance(element, list):
        for part in element:
            _check_structure(part)
        return
    if not isinstance(element, dict) or len(element) != 1 or not element.keys() <= {"Concat", "IfPresent"}:
        raise ValueError(f"expected text, a list, IfPresent or Concat, found {printable(str(element), chars_max=40)}")
    if "Concat" in element:
        if not isinstance(element["Concat"], list):
            raise ValueError("Concat needs a list")
        _check_structure(element["Concat"])
        return
    choice = element["IfPresent"]
    if not isinstance(choice, dict) or not isinstance(choice.get("InputName"), str):
        raise ValueError("IfPresent needs an InputName, and Then")
    for branch in (choice.get("Then"), choice.get("Else")):
        if branch is not None:
            _check_structure(branch)


def _structure_of(word: str) -> Any:
    """The compiler writes IfPresent and Concat as JSON inside a string. ValueError for JSON that is broken."""
    if word.startswith(('{"IfPresent"', '{"Concat"')):
        return parse_json(word.encode())
    return word


def _parts_of(text: str) -> list[str]:
    """Text and insides of placeholders in turns, text first and last. In one pass, however many have no end."""
    parts, begin = [], 0
    while (opened := text.find(_OPEN, begin)) >= 0 and (closed := text.find(_CLOSE, opened + len(_OPEN))) >= 0:
        parts += [text[begin:opened], text[opened + len(_OPEN) : closed]]
        begin = closed + len(_CLOSE)
    return [*parts, text[begin:]]


def _value_of(inner: str, executor_input: Mapping[str, Any], job: Mapping[str, str], say: Callable[[Any], str]) -> str:
    if inner == "":
        return json.dumps(executor_input)
    if inner in (".outputs.output_file", ".outputMetadataUri"):
        return str(executor_input["outputs"]["outputFile"])
    if inner.removeprefix(".") in job:
        return job[inner.removeprefix(".")]
    try:
        if match := PARAMETER.fullmatch(inner):
            return say(executor_input["inputs"]["parameterValues"][match[1]])
        if match := _OUTPUT_PARAMETER.fullmatch(inner):
            return str(executor_input["outputs"]["parameters"][match[1]]["outputFile"])
        if match := _ARTIFACT.fullmatch(inner):
            return _artifact_text(match, executor_input)
        if match := _LIST.fullmatch(inner):
            return json_of(executor_input["inputs"]["artifacts"][match[1]]["artifacts"])
    except (KeyError, IndexError, TypeError):
        raise DataRejected(f"the placeholder {{{{${inner}}}}} has no value in this task.") from None
    raise DataRejected(f"the placeholder {{{{${inner}}}}} is not supported by this backend.")


def _artifact_text(match: re.Match[str], executor_input: Mapping[str, Any]) -> str:
    side, name, what, keys = match.groups()
    artifact = executor_input[side]["artifacts"][name]["artifacts"][0]
    value: Any = (
        artifact[ADDRESS] if what == "uri" and ADDRESS in artifact else artifact["uri" if what == "path" else what]
    )
    for key in re.findall(r"\['([^']+)'\]", keys):
        value = value[key]
    return text_of(value)
