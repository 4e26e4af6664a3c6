"""What a task is given: constants, outputs of its siblings, inputs of its group, or the state that another ended in.

The rules are those of kubeflow/pipelines, backend/src/v2/driver/resolve.go: resolveInputs, resolveInputParameter. A key
that is absent was not given; None is a null that was.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from embedded.control_plane.engine.definitions import Definitions
from embedded.control_plane.engine.go_text import plain_of
from embedded.control_plane.engine.records import TaskRecord, TaskState
from embedded.control_plane.engine.spec import (
    ArtifactSource,
    Component,
    ParameterSource,
    PipelineSpec,
    Task,
    TaskOutputParameter,
)
from embedded.control_plane.engine.templates import JOB_PLACEHOLDER, filled_templates
from embedded.control_plane.engine.values import Artifact, Values, check_literals, conform, select
from embedded.control_plane.engine.workspace import WORKSPACE_PATH, WORKSPACE_PLACEHOLDER
from embedded.control_plane.errors import DataRejected

_FINAL_STATUS = {TaskState.SUCCEEDED: "COMPLETE"}
"""The real backend hands over ML Metadata's word: COMPLETE, CACHED, FAILED or CANCELED; never SUCCEEDED."""

Sibling = Callable[[str], TaskRecord]


def root_arguments(spec: PipelineSpec, given: Mapping[str, Any]) -> dict[str, Any]:
    """The inputs of a run: what was given, else the defaults. DataRejected for an unknown, missing or mistyped one."""
    definitions = spec.root.input_definitions
    if unknown := given.keys() - definitions.parameters.keys():
        known = ", ".join(definitions.parameters) or "none"
        raise DataRejected(f"the pipeline has no parameter {sorted(unknown)[0]!r}. It has: {known}.")
    arguments: dict[str, Any] = {}
    for name, definition in definitions.parameters.items():
        where, value = f"parameter {name!r}", given.get(name)
        if value is None:
            value = definition.default_value
        if value is None and not definition.is_optional:
            raise DataRejected(f"the pipeline's parameter {name!r} has no default: give it a value.")
        if value is not None:  # text is read as its type: the command line sends everything as text
            value = conform(value, definition, where=where, is_lenient=True)
            check_literals(value, definition, where=where)
        arguments[name] = value
    return arguments


@dataclass(frozen=True)
class Resolver:
    """Inputs of the tasks of one DAG.

    group: inputs of that DAG. sibling: record of a task of that DAG. job: values of placeholders, the task's own
    included. is_lenient: text is read as the type that an input wants; a cluster fails the task.
    """

    group: Values
    sibling: Sibling
    job: Mapping[str, str]
    is_lenient: bool = False

    def inputs_of(self, task: Task, component: Component) -> Values:
        """DataRejected names the input that has no value or the wrong type. What has a default may be absent."""
        definitions = component.input_definitions
        found = {} if component.dag is None else _left_out(task, definitions)
        nulls = {name for name, value in found.items() if value is None}
        for name, source in task.inputs.parameters.items():
            self._add_parameter(found, name, source, definitions)
        for name, source in task.inputs.parameters.items():
            if source.parameter_expression_selector:
                found[name] = _selected(found, name, source.parameter_expression_selector)
        skipped = {task.parameter_iterator.item_input} if task.parameter_iterator else set()
        parameters = self._conformed(found, definitions, nulls=nulls, skipped=skipped)
        if component.dag is None:
            parameters |= filled_templates(task, with_defaults(parameters, definitions), job=self.job)
        return Values(parameters=parameters, artifacts=self._artifacts(task, definitions))

    def iteration_of(self, loop: Values, task: Task, component: Component, item: Any) -> Values:
        """Inputs of one iteration: those of the loop, and its item as the type that the compiler declared for it."""
        assert task.parameter_iterator is not None, "artifact lists have no types to conform to"
        parameters = {**loop.parameters, task.parameter_iterator.item_input: item}
        nulls = {name for name, value in loop.parameters.items() if value is None}
        conformed = self._conformed(parameters, component.input_definitions, nulls=nulls, skipped=set())
        return loop.model_copy(update={"parameters": conformed})

    def _add_parameter(
        self, found: dict[str, Any], name: str, source: ParameterSource, definitions: Definitions
    ) -> None:
        definition = definitions.parameters.get(name)
        if source.component_input_parameter:
            value = self._input_of_group(source.component_input_parameter, name)
            if value is None:
                if definition is None or not definition.is_optional:
                    raise DataRejected(
                        f"input {name!r} has no value: {source.component_input_parameter!r} is null (None), "
                        "and the input is not optional."
                    )
                return
        else:
            value = self._value_of(source, name)
        if definition is not None and value is not None:
            check_literals(value, definition, where=f"input {name!r}")
        found[name] = value

    def _input_of_group(self, key: str, name: str) -> Any:
        if key not in self.group.parameters:
            raise DataRejected(f"input {name!r} has no value: the group that the task is in has no input {key!r}.")
        return self.group.parameters[key]

    def _value_of(self, source: ParameterSource, name: str) -> Any:
        if source.runtime_value:
            return self._constant(source.runtime_value.constant)
        if source.task_output_parameter:
            return self._output(source.task_output_parameter, name)
        assert source.task_final_status is not None, "checked at upload"
        return _final_status(self.sibling(source.task_final_status.producer_task), self.job)

    def _constant(self, constant: Any) -> Any:
        """A placeholder of the run alone is its value; one of inputs stays until the container starts."""
        if isinstance(constant, str) and (match := JOB_PLACEHOLDER.fullmatch(constant)):
            return self.job.get(match[1], constant)
        if isinstance(constant, str):
            return constant.replace(WORKSPACE_PLACEHOLDER, WORKSPACE_PATH)
        return plain_of(constant)

    def _output(self, source: TaskOutputParameter, name: str) -> Any:
        """None of a producer that failed before it wrote: only a task that ignores failures comes to ask."""
        producer = self.sibling(source.producer_task)
        if source.output_parameter_key in producer.outputs.parameters:
            return producer.outputs.parameters[source.output_parameter_key]
        if producer.state in (TaskState.SUCCEEDED, TaskState.SKIPPED):
            raise DataRejected(
                f"input {name!r} has no value: {producer.name}, which is {producer.state.value}, "
                f"gave no {source.output_parameter_key!r}."
            )
        return None

    def _conformed(
        self, found: Mapping[str, Any], definitions: Definitions, *, nulls: set[str], skipped: set[str]
    ) -> dict[str, Any]:
        conformed = dict(found)
        for name, definition in definitions.parameters.items():
            if name in skipped or (name in nulls and found.get(name) is None):
                continue
            if name in found:
                where = f"input {name!r}"
                conformed[name] = conform(found[name], definition, where=where, is_lenient=self.is_lenient)
            elif not definition.is_optional and definition.default_value is None:
                raise DataRejected(f"input {name!r} has neither a value nor a default.")
        return conformed

    def _artifacts(self, task: Task, definitions: Definitions) -> dict[str, tuple[Artifact, ...]]:
        artifacts = {}
        for name, source in task.inputs.artifacts.items():
            if source.task_output_artifact:
                outputs = self.sibling(source.task_output_artifact.producer_task).outputs.artifacts
                value = outputs.get(source.task_output_artifact.output_artifact_key)
            else:
                value = self.group.artifacts.get(source.component_input_artifact or "")
            definition = definitions.artifacts.get(name)
            if value is not None:
                artifacts[name] = value
            elif not (self.is_lenient and definition and definition.is_optional):
                raise DataRejected(f"input {name!r} has no artifact: {_missing(source)}.")
        return artifacts


def with_defaults(parameters: Mapping[str, Any], definitions: Definitions) -> dict[str, Any]:
    """What a container is given: the defaults of what was left out are its own affair (launcher, addDefaultParams)."""
    defaults = {
        name: plain_of(definition.default_value)
        for name, definition in definitions.parameters.items()
        if name not in parameters and definition.default_value is not None
    }
    return {**parameters, **defaults}


def _left_out(task: Task, definitions: Definitions) -> dict[str, Any]:
    """Optional inputs of a nested pipeline that were not named: their defaults, or null."""
    return {
        name: plain_of(definition.default_value)
        for name, definition in definitions.parameters.items()
        if definition.is_optional and name not in task.inputs.parameters
    }


def _missing(source: ArtifactSource) -> str:
    """Source: kubeflow/pipelines, backend/src/v2/driver/resolve.go, resolveInputArtifact: optional inputs that are
    named must be there, too; those that no task names may be absent."""
    if made := source.task_output_artifact:
        return f"{made.producer_task}, the task that makes it, gave none"
    return f"the group that the task is in was not given {source.component_input_artifact!r}, as on a cluster"


def _selected(found: Mapping[str, Any], name: str, selector: str) -> Any:
    if name not in found:
        raise DataRejected(f"input {name!r} has no value from which {selector} could select.")
    try:
        return select(found[name], selector)
    except DataRejected as error:
        raise DataRejected(f"input {name!r}: {error}") from None


def _final_status(producer: TaskRecord, job: Mapping[str, str]) -> dict[str, Any]:
    """The error is empty, as on a cluster: its driver has yet to fill it in."""
    state = "CACHED" if producer.is_cached else _FINAL_STATUS.get(producer.state, producer.state.value)
    return {
        "state": state,
        "pipelineJobResourceName": job["pipeline_job_resource_name"],
        "pipelineTaskName": producer.name,
        "error": {},
    }
