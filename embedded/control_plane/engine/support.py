"""What a well-formed pipeline may still ask for that one machine cannot give: refused by name, before anything runs."""

import re
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from importlib import metadata

from packaging.requirements import InvalidRequirement, Requirement

from embedded.control_plane.engine.condition import check_condition
from embedded.control_plane.engine.placeholders import check_placeholders
from embedded.control_plane.engine.spec import (
    Component,
    Dag,
    Executor,
    Pipeline,
    PipelineSpec,
    Task,
)
from embedded.control_plane.engine.values import check_selector
from ratchet.core.errors import DataRejected

SCHEMA_VERSION = "2.1.0"
_ROOT = "root"
_KUBERNETES_ONLY_IMAGES = "argostub/"
"""kfp-kubernetes marks what only a cluster can do (create a PVC) by the image of the task."""


def check_supported(pipeline: Pipeline) -> None:
    """DataRejected for the first construct that would not run here as it runs on a cluster."""
    spec = pipeline.spec
    if spec.schema_version != SCHEMA_VERSION:
        raise DataRejected(
            f"schemaVersion {spec.schema_version!r} is not supported; this backend reads {SCHEMA_VERSION}. "
            "Compile the pipeline with kfp 2.16."
        )
    if spec.default_pipeline_root:
        raise DataRejected(
            f"pipeline_root {spec.default_pipeline_root!r} is not supported: this backend keeps artifacts in its own "
            "folder. Remove pipeline_root from the pipeline."
        )
    if spec.root.dag is None:
        raise DataRejected("root is not a DAG. Compile a pipeline, or let the compiler wrap the component in one.")
    for name, component in (*spec.components.items(), (_ROOT, spec.root)):
        _check_component(spec, name, component)
    for name, executor in spec.deployment_spec.executors.items():
        _check_executor(name, executor)
    _check_nesting(spec)


def _check_component(spec: PipelineSpec, name: str, component: Component) -> None:
    if (component.dag is None) == (component.executor_label is None):
        raise DataRejected(f"component {name} must have either a dag or an executorLabel.")
    if component.executor_label and component.executor_label not in spec.deployment_spec.executors:
        raise DataRejected(f"component {name} names the executor {component.executor_label!r}, which is not there.")
    if component.dag is None:
        for key, output in component.output_definitions.artifacts.items():
            if output.is_artifact_list:
                raise DataRejected(f"component {name}: the output {key} is a list of artifacts: not supported here.")
        return
    for task_name, task in component.dag.tasks.items():
        _check_task(spec, task_name, task, dag=component.dag, parent=component)
    _check_outputs(name, component.dag)
    try:
        TopologicalSorter({key: task.upstream for key, task in component.dag.tasks.items()}).prepare()
    except CycleError as error:
        raise DataRejected(f"component {name}: its tasks wait for each other: {' -> '.join(error.args[1])}.") from None


def _check_task(spec: PipelineSpec, name: str, task: Task, *, dag: Dag, parent: Component) -> None:
    if task.component_ref.name not in spec.components:
        raise DataRejected(f"task {name} names the component {task.component_ref.name!r}, which is not there.")
    if missing := task.upstream - dag.tasks.keys():
        raise DataRejected(f"task {name} waits for {sorted(missing)}, which is not beside it.")
    component = spec.component_of(task)
    if task.is_loop and task.trigger_policy.condition:
        raise DataRejected(f"task {name} has both a loop and a condition: that is not supported.")
    if task.is_loop and component.dag is None:
        raise DataRejected(f"task {name} loops over a component without a dag: that is not supported.")
    if task.trigger_policy.condition:
        check_condition(task.trigger_policy.condition, input_names=frozenset(task.inputs.parameters))
    _check_sources(name, task, parent=parent)


def _check_sources(name: str, task: Task, *, parent: Component) -> None:
    parameters = parent.input_definitions.parameters.keys()
    artifacts = parent.input_definitions.artifacts.keys()
    for key, source in task.inputs.parameters.items():
        kinds = (source.runtime_value, source.task_output_parameter, source.task_final_status)
        if sum(kind is not None for kind in (*kinds, source.component_input_parameter)) != 1:
            raise DataRejected(f"task {name}: the input {key} must come from exactly one place.")
        if source.component_input_parameter and source.component_input_parameter not in parameters:
            raise DataRejected(f"task {name}: the input {key} is {source.component_input_parameter!r}, unknown here.")
        if source.parameter_expression_selector:
            check_selector(source.parameter_expression_selector)
        if source.runtime_value and isinstance(source.runtime_value.constant, str):
            check_placeholders(source.runtime_value.constant, where=f"task {name}: the input {key}")
    for key, artifact in task.inputs.artifacts.items():
        if (artifact.task_output_artifact is None) == (artifact.component_input_artifact is None):
            raise DataRejected(f"task {name}: the input {key} must come from exactly one place.")
        if artifact.component_input_artifact and artifact.component_input_artifact not in artifacts:
            raise DataRejected(f"task {name}: the input {key} is {artifact.component_input_artifact!r}, unknown here.")


def _check_outputs(name: str, dag: Dag) -> None:
    selectors = [selector for output in dag.outputs.parameters.values() for selector in output.selectors]
    producers = {selector.producer_subtask for selector in selectors} | {
        selector.producer_subtask for output in dag.outputs.artifacts.values() for selector in output.artifact_selectors
    }
    if missing := producers - dag.tasks.keys():
        raise DataRejected(f"component {name} takes outputs from {sorted(missing)}, which is not in it.")


def _check_executor(name: str, executor: Executor) -> None:
    if (executor.container is None) == (executor.importer is None):
        raise DataRejected(f"executor {name} must be either a container or an importer.")
    container = executor.container
    if container is None:
        return
    if container.image.startswith(_KUBERNETES_ONLY_IMAGES):
        operation = container.image.removeprefix(_KUBERNETES_ONLY_IMAGES)
        raise DataRejected(f"executor {name}: {operation} needs a Kubernetes cluster. Take it out to run here.")
    if not container.command and not container.args:
        raise DataRejected(f"executor {name} has no command; an image's entry point cannot run here. Add it.")
    for text in (*container.command, *container.args, *(variable.value for variable in container.env)):
        check_placeholders(text, where=f"executor {name}")
    missing = [text for command in container.command for text in _missing_packages(command)]
    if missing:
        raise DataRejected(
            f"executor {name} installs {', '.join(missing)} when it runs; this backend installs nothing. "
            "Install it beside this backend, or compile without packages_to_install."
        )


def _missing_packages(command: str) -> Iterator[str]:
    """The requirements of kfp's `pip install` lines that this environment does not meet already."""
    for line in re.findall(r"pip install[^\n;&]*", command):
        for quoted in re.findall(r"'([^']+)'", line):
            if not _is_installed(quoted):
                yield quoted


def _is_installed(text: str) -> bool:
    try:
        requirement = Requirement(text)
        return requirement.url is None and requirement.specifier.contains(
            metadata.version(requirement.name), prereleases=True
        )
    except (InvalidRequirement, metadata.PackageNotFoundError):
        return False


def _check_nesting(spec: PipelineSpec) -> None:
    """A component inside itself would never end."""
    inside = {
        name: {task.component_ref.name for task in component.dag.tasks.values()} if component.dag else set()
        for name, component in spec.components.items()
    }
    try:
        TopologicalSorter(inside).prepare()
    except CycleError as error:
        raise DataRejected(f"components contain each other: {' -> '.join(error.args[1])}.") from None
