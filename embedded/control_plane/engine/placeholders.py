"""`{{$…}}` in commands, arguments, environment and constants, and the `IfPresent`/`Concat` of container components.

Sources: kfp.dsl.placeholders (what the compiler writes) and the launcher's executor input. Text that comes out of a
task is never searched for placeholders: only what the author of the pipeline wrote is.
"""

import json
import re
from collections.abc import Mapping
from typing import Any

from embedded.control_plane.engine.values import text_of
from ratchet.core.errors import DataRejected

_PLACEHOLDER = re.compile(r"\{\{\$(.*?)\}\}", re.DOTALL)
_PARAMETER = re.compile(r"\.inputs\.parameters\['([^']+)'\]")
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


def check_placeholders(text: str, *, where: str) -> None:
    """DataRejected for a placeholder that no task here could fill."""
    for inner in _PLACEHOLDER.findall(text):
        known = inner in ("", ".outputs.output_file", ".outputMetadataUri") or inner.removeprefix(".") in JOB_NAMES
        if not known and not any(p.fullmatch(inner) for p in (_PARAMETER, _OUTPUT_PARAMETER, _ARTIFACT)):
            raise DataRejected(f"{where}: the placeholder {{{{${inner}}}}} is not supported by this backend.")


def fill_text(text: str, *, executor_input: Mapping[str, Any], job: Mapping[str, str]) -> str:
    """The text with every placeholder replaced; DataRejected when one has no value.

    executor_input: the `ExecutorInput` of the task; for a constant input, what is known of it so far.
    job: values of JOB_NAMES.
    """
    return _PLACEHOLDER.sub(lambda match: _value_of(match[1], executor_input, job), text)


def fill_command(
    words: tuple[str, ...], *, executor_input: Mapping[str, Any], job: Mapping[str, str]
) -> tuple[str, ...]:
    """Command and arguments, ready to execute; IfPresent may add or drop words."""
    filled: list[str] = []
    for word in words:
        filled += _words_of(_structure_of(word), executor_input, job)
    return tuple(filled)


def _structure_of(word: str) -> Any:
    """The compiler writes IfPresent and Concat as JSON inside a string."""
    if word.startswith(('{"IfPresent"', '{"Concat"')):
        return json.loads(word)
    return word


def _words_of(element: Any, executor_input: Mapping[str, Any], job: Mapping[str, str]) -> list[str]:
    if isinstance(element, str):
        return [fill_text(element, executor_input=executor_input, job=job)]
    if isinstance(element, list):
        return [word for part in element for word in _words_of(part, executor_input, job)]
    if "Concat" in element:
        return ["".join(word for part in element["Concat"] for word in _words_of(part, executor_input, job))]
    if "IfPresent" not in element:
        raise DataRejected(f"{sorted(element)} in a command is not supported; IfPresent and Concat are.")
    choice = element["IfPresent"]
    branch = choice.get("Then") if _is_present(choice["InputName"], executor_input) else choice.get("Else")
    return [] if branch is None else _words_of(branch, executor_input, job)


def _is_present(name: str, executor_input: Mapping[str, Any]) -> bool:
    inputs = executor_input["inputs"]
    return inputs["parameterValues"].get(name) is not None or name in inputs["artifacts"]


def _value_of(inner: str, executor_input: Mapping[str, Any], job: Mapping[str, str]) -> str:
    if inner == "":
        return json.dumps(executor_input)
    if inner in (".outputs.output_file", ".outputMetadataUri"):
        return str(executor_input["outputs"]["outputFile"])
    if inner.removeprefix(".") in job:
        return job[inner.removeprefix(".")]
    try:
        if match := _PARAMETER.fullmatch(inner):
            return text_of(executor_input["inputs"]["parameterValues"][match[1]])
        if match := _OUTPUT_PARAMETER.fullmatch(inner):
            return str(executor_input["outputs"]["parameters"][match[1]]["outputFile"])
        if match := _ARTIFACT.fullmatch(inner):
            return _artifact_text(match, executor_input)
    except (KeyError, IndexError):
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
