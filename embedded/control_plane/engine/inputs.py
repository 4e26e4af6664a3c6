"""What a task is given: constants, outputs of its siblings, inputs of its group, or the state that another ended in."""

from collections.abc import Callable, Mapping
from typing import Any

from embedded.control_plane.engine.placeholders import fill_text
from embedded.control_plane.engine.records import TaskRecord, TaskState
from embedded.control_plane.engine.spec import Component, Definitions, ParameterSource, PipelineSpec, Task
from embedded.control_plane.engine.values import Artifact, Values, conform, plain_of, select
from ratchet.core.errors import DataRejected

_FINAL_STATUS = {TaskState.SUCCEEDED: "COMPLETE"}
"""The real backend hands over ML Metadata's word: COMPLETE, FAILED or CANCELED; never SUCCEEDED."""
_FAILED_CODE = 9
"""google.rpc.Code FAILED_PRECONDITION."""

Sibling = Callable[[str], TaskRecord]


def root_arguments(spec: PipelineSpec, given: Mapping[str, Any]) -> dict[str, Any]:
    """The inputs of a run: what was given, else the defaults. DataRejected for an unknown, missing or mistyped one."""
    definitions = spec.root.input_definitions
    if definitions.artifacts:
        raise DataRejected(f"pipeline inputs that are artifacts are not supported: {sorted(definitions.artifacts)}.")
    if unknown := given.keys() - definitions.parameters.keys():
        known = ", ".join(definitions.parameters) or "none"
        raise DataRejected(f"the pipeline has no parameter {sorted(unknown)[0]!r}. It has: {known}.")
    arguments: dict[str, Any] = {}
    for name, definition in definitions.parameters.items():
        value = given.get(name)
        if value is None:
            value = definition.default_value
        if value is None and not definition.is_optional:
            raise DataRejected(f"the pipeline's parameter {name!r} has no default: give it a value.")
        arguments[name] = (
            None if value is None else conform(value, definition, where=f"parameter {name!r}", parse_text=True)
        )
    return arguments


def resolve_inputs(
    task: Task, component: Component, *, group: Values, sibling: Sibling, job: Mapping[str, str]
) -> Values:
    """The inputs of one task. DataRejected names the input that has no value or the wrong type.

    group: inputs of the DAG that the task is in. sibling: record of another task of that DAG.
    """
    definitions = component.input_definitions
    found: dict[str, Any] = {}
    constants: dict[str, str] = {}
    for name, source in task.inputs.parameters.items():
        value = _parameter(source, group=group, sibling=sibling, job=job)
        if source.runtime_value and isinstance(value, str) and "{{$" in value:
            constants[name] = value
        elif value is not None:
            found[name] = _selected(value, source, name)
    context = {"inputs": {"parameterValues": dict(found), "artifacts": {}}, "outputs": {}}
    for name, text in constants.items():
        found[name] = fill_text(text, executor_input=context, job=job)
    parameters = _with_defaults(found, definitions)
    if component.dag is None:
        parameters = _conformed(parameters, definitions)
    return Values(parameters=parameters, artifacts=_artifacts(task, definitions, group=group, sibling=sibling))


def _parameter(source: ParameterSource, *, group: Values, sibling: Sibling, job: Mapping[str, str]) -> Any:
    """None when there is no value: an optional input not given, or the output of a task that failed."""
    if source.runtime_value:
        return plain_of(source.runtime_value.constant)
    if source.task_output_parameter:
        producer = sibling(source.task_output_parameter.producer_task)
        return producer.outputs.parameters.get(source.task_output_parameter.output_parameter_key)
    if source.task_final_status:
        return _final_status(sibling(source.task_final_status.producer_task), job)
    return group.parameters.get(source.component_input_parameter or "")


def _final_status(producer: TaskRecord, job: Mapping[str, str]) -> dict[str, Any]:
    has_failed = producer.state is not TaskState.SUCCEEDED
    return {
        "state": _FINAL_STATUS.get(producer.state, producer.state.value),
        "pipelineJobResourceName": job["pipeline_job_resource_name"],
        "pipelineTaskName": producer.name,
        "error": {"code": _FAILED_CODE if has_failed else 0, "message": producer.error},
    }


def _selected(value: Any, source: ParameterSource, name: str) -> Any:
    if not source.parameter_expression_selector:
        return value
    try:
        return select(value, source.parameter_expression_selector)
    except ValueError:
        raise DataRejected(f"input {name}: {value!r} is not JSON, so nothing can be selected from it.") from None


def _with_defaults(found: dict[str, Any], definitions: Definitions) -> dict[str, Any]:
    defaults = {
        name: plain_of(definition.default_value)
        for name, definition in definitions.parameters.items()
        if found.get(name) is None and definition.default_value is not None
    }
    return {**found, **defaults}


def _conformed(parameters: dict[str, Any], definitions: Definitions) -> dict[str, Any]:
    conformed = dict(parameters)
    for name, definition in definitions.parameters.items():
        if name in parameters:
            conformed[name] = conform(parameters[name], definition, where=f"input {name!r}")
        elif not definition.is_optional:
            raise DataRejected(f"input {name!r} has no value: the task that makes it gave none.")
    return conformed


def _artifacts(
    task: Task, definitions: Definitions, *, group: Values, sibling: Sibling
) -> dict[str, tuple[Artifact, ...]]:
    artifacts = {}
    for name, source in task.inputs.artifacts.items():
        if source.task_output_artifact:
            outputs = sibling(source.task_output_artifact.producer_task).outputs.artifacts
            value = outputs.get(source.task_output_artifact.output_artifact_key)
        else:
            value = group.artifacts.get(source.component_input_artifact or "")
        definition = definitions.artifacts.get(name)
        if value is not None:
            artifacts[name] = value
        elif definition is None or not definition.is_optional:
            raise DataRejected(f"input {name!r} has no artifact: the task that makes it gave none.")
    return artifacts
