"""What a well-formed pipeline may still ask for that one machine cannot give: refused by name, before anything runs."""

from graphlib import CycleError, TopologicalSorter

from embedded.control_plane.engine import claims
from embedded.control_plane.engine.cluster_settings import check_cluster_settings
from embedded.control_plane.engine.condition import check_condition
from embedded.control_plane.engine.executors import Executor, Resources
from embedded.control_plane.engine.flow import check_flow
from embedded.control_plane.engine.init_containers import check_init_containers
from embedded.control_plane.engine.kubernetes_names import check_sources
from embedded.control_plane.engine.kubernetes_spec import KubernetesExecutor, Pipeline
from embedded.control_plane.engine.mounts import check_mount_paths, mount_paths_of
from embedded.control_plane.engine.placeholders import check_declared, check_placeholders, check_words
from embedded.control_plane.engine.pod_fields import check_field_path
from embedded.control_plane.engine.resources import parse_quantity
from embedded.control_plane.engine.roots import check_root
from embedded.control_plane.engine.spec import Component, Dag, PipelineSpec, Task
from embedded.control_plane.engine.values import check_selector
from embedded.control_plane.engine.workspace import check_workspace
from embedded.control_plane.errors import DataRejected

_ROOT = "root"


def check_supported(pipeline: Pipeline) -> None:
    """DataRejected for the first construct that would not run here as it runs on a cluster."""
    spec = pipeline.spec
    if spec.default_pipeline_root:
        check_root(spec.default_pipeline_root)
    if spec.root.dag is None:
        raise DataRejected("root is not a DAG. Compile a pipeline, or let the compiler wrap the component in one.")
    _check_root_inputs(spec.root)
    check_workspace(spec, has_workspace=pipeline.has_workspace)
    for name, component in (*spec.components.items(), (_ROOT, spec.root)):
        _check_component(spec, name, component)
    for name, executor in spec.deployment_spec.executors.items():
        _check_executor(name, executor)
    for name, kubernetes in pipeline.platform.platforms.kubernetes.deployment_spec.executors.items():
        _check_kubernetes(kubernetes, where=f"executor {name}")
        check_cluster_settings(kubernetes, has_workspace=pipeline.has_workspace, where=f"executor {name}")
    check_sources(pipeline)
    _check_nesting(spec)


def _check_root_inputs(root: Component) -> None:
    """Source: kubeflow/pipelines, backend/src/v2/driver/root_dag.go, RootDAG: a run starts with parameters alone, and
    resolve.go, resolveInputArtifact: each task that reads an artifact of the root fails, optional or not."""
    if names := sorted(root.input_definitions.artifacts):
        raise DataRejected(
            f"the pipeline's input {names[0]!r} is an artifact, and a run is given parameters alone, here as on a "
            "cluster. Make the artifact in the pipeline: dsl.importer takes its address, which can be a parameter."
        )


def _check_component(spec: PipelineSpec, name: str, component: Component) -> None:
    if (component.dag is None) == (component.executor_label is None):
        raise DataRejected(f"component {name} must have either a dag or an executorLabel.")
    if component.executor_label is not None and component.executor_label not in spec.deployment_spec.executors:
        raise DataRejected(f"component {name} names the executor {component.executor_label!r}, which is not there.")
    if component.dag is None:
        for key, output in component.output_definitions.artifacts.items():
            if output.is_artifact_list:
                raise DataRejected(
                    f"component {name}: the output {key} is a list of artifacts. A cluster makes one artifact for each "
                    "output of a component, so its readers get one. Write the files into one folder, or make one "
                    "artifact in each iteration of a ParallelFor, and collect them."
                )
        texts = _texts_of(spec.executor_of(component))
        check_declared(texts, component.input_definitions, component.output_definitions, where=f"component {name}")
        return
    for task_name, task in component.dag.tasks.items():
        _check_task(spec, task_name, task, dag=component.dag, parent=component)
    _check_outputs(name, component.dag)
    try:
        TopologicalSorter({key: task.upstream for key, task in component.dag.tasks.items()}).prepare()
    except CycleError as error:
        raise DataRejected(f"component {name}: its tasks wait for each other: {' -> '.join(error.args[1])}.") from None
    check_flow(spec, name, component)


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
    if claims.operation_of(container.image) is not None:
        return
    if not container.command and not container.args:
        raise DataRejected(f"executor {name} has no command; an image's entry point cannot run here. Add it.")
    check_words((*container.command, *container.args), where=f"executor {name}")
    for variable in container.env:
        check_placeholders(variable.value, where=f"executor {name}")
        if not variable.name or {"=", "\0"} & {*variable.name} or "\0" in variable.value:
            raise DataRejected(f"executor {name}: no program can be given the variable {variable.name!r}. Rename it.")
    for text in _texts_of(executor):
        if "{{$.pipeline_" in text:
            raise DataRejected(
                f"executor {name}: a cluster leaves {{{{$.pipeline_…}}}} in a command or variable as it is. Give the "
                "component an input, and pass it the placeholder."
            )
    _check_resources(container.resources, where=f"executor {name}")


def _check_kubernetes(kubernetes: KubernetesExecutor, *, where: str) -> None:
    check_mount_paths(mount_paths_of(kubernetes), where=where)
    for field in kubernetes.field_path_as_env:
        check_field_path(field.field_path, where=f"{where}: the variable {field.name}")
    check_init_containers(kubernetes, where=where)


def _texts_of(executor: Executor) -> list[str]:
    """Where placeholders may be."""
    container = executor.container
    if container is None:
        return []
    return [*container.command, *container.args, *(variable.value for variable in container.env)]


def _check_resources(resources: Resources, *, where: str) -> None:
    """Amounts without placeholders are read now, the others when the task starts."""
    accelerator = resources.accelerator
    for text in (accelerator.resource_type, accelerator.resource_count):
        check_placeholders(text, where=f"{where}: its accelerator")
    amounts = {"CPU limit": resources.resource_cpu_limit, "CPU request": resources.resource_cpu_request}
    amounts |= {"memory limit": resources.resource_memory_limit, "memory request": resources.resource_memory_request}
    for what, text in amounts.items():
        check_placeholders(text, where=f"{where}: its {what}")
        if text and "{{$" not in text:
            parse_quantity(text, where=f"{where}: its {what}")


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
