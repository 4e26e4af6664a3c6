"""Names of Secrets, ConfigMaps and claims that come from inputs of the pipeline, or outputs of other tasks. Pure."""

from collections.abc import Callable, Iterator
from typing import Any

from embedded.control_plane.engine.kubernetes_spec import KubernetesExecutor, Pipeline
from embedded.control_plane.engine.placement import resolve_placement
from embedded.control_plane.engine.records import TaskRecord
from embedded.control_plane.engine.spec import Dag, ParameterSource, PipelineSpec, TaskOutputParameter
from embedded.control_plane.engine.values import Values
from embedded.control_plane.errors import DataRejected

Sibling = Callable[[str], TaskRecord]


_NAMED = {
    "secret_as_env": "secret_name",
    "secret_as_volume": "secret_name",
    "config_map_as_env": "config_map_name",
    "config_map_as_volume": "config_map_name",
}


def resolve_names(kubernetes: KubernetesExecutor, *, group: Values, sibling: Sibling) -> KubernetesExecutor:
    """The same settings with every name a constant. DataRejected when one has no value.

    A Secret or ConfigMap whose name is an input that was left out (None) is left out, too, as in kubeflow/pipelines,
    backend/src/v2/driver/k8s.go, extendPodSpecPatch (ErrResolvedParameterNull).
    group: inputs of the DAG that the task is in. sibling: record of another task of that DAG.
    """
    resolved: dict[str, tuple[Any, ...]] = {}
    for field, name in _NAMED.items():
        named = []
        for one in getattr(kubernetes, field):
            source: ParameterSource | None = getattr(one, f"{name}_parameter")
            if source is not None and _is_left_out(source, group):
                continue
            value = getattr(one, name) if source is None else _value_of(source, group=group, sibling=sibling)
            named.append(one.model_copy(update={name: value, f"{name}_parameter": None}))
        resolved[field] = tuple(named)
    mounts = []
    for mount in kubernetes.pvc_mount:
        claim = mount.name_source
        value = mount.constant if claim is None else _value_of(claim, group=group, sibling=sibling)
        mounts.append(mount.model_copy(update={"constant": value}))
    placement = resolve_placement(kubernetes, lambda source: _found(source, group=group, sibling=sibling))
    return kubernetes.model_copy(update={**resolved, **placement, "pvc_mount": tuple(mounts)})


def check_sources(pipeline: Pipeline) -> None:
    """DataRejected for a name that comes from a task which may not have run by then, or does not give it.

    kfp.kubernetes makes a task wait for the one that gives its claim's name; without that, a cluster's driver fails.
    """
    spec = pipeline.spec
    for dag in (component.dag for component in (spec.root, *spec.components.values()) if component.dag):
        for name, task in dag.tasks.items():
            label = spec.component_of(task).executor_label
            for source in _sources_of(pipeline.kubernetes_of(label)) if label else ():
                if source.task_output_parameter:
                    _check_source(spec, dag, name, source.task_output_parameter)


def _check_source(spec: PipelineSpec, dag: Dag, name: str, source: TaskOutputParameter) -> None:
    producer, key = source.producer_task, source.output_parameter_key
    what = f"task {name} takes the name of a Secret, ConfigMap or claim from task {producer!r}"
    if producer not in _awaited_by(dag, name):
        raise DataRejected(f"{what}, for which it does not wait. Add .after(...) to the task.")
    if key not in spec.component_of(dag.tasks[producer]).output_definitions.parameters:
        raise DataRejected(f"{what}, which declares no output {key!r}. Name one that it declares.")


def _awaited_by(dag: Dag, name: str) -> set[str]:
    """Every task that is over when this one starts."""
    found: set[str] = set()
    todo = [name]
    while todo:
        upstream = dag.tasks[todo.pop()].upstream - found
        found |= upstream
        todo += upstream
    return found


def _sources_of(kubernetes: KubernetesExecutor) -> Iterator[ParameterSource]:
    named = [getattr(one, f"{name}_parameter") for field, name in _NAMED.items() for one in getattr(kubernetes, field)]
    for source in (*named, *(mount.name_source for mount in kubernetes.pvc_mount)):
        if source is not None:
            yield source


def _is_left_out(source: ParameterSource, group: Values) -> bool:
    key = source.component_input_parameter
    return key is not None and key in group.parameters and group.parameters[key] is None


def _found(source: ParameterSource, *, group: Values, sibling: Sibling) -> Any:
    """None where there is no value."""
    if source.runtime_value is not None:
        return source.runtime_value.constant
    if source.task_output_parameter is not None:
        outputs = sibling(source.task_output_parameter.producer_task).outputs.parameters
        return outputs.get(source.task_output_parameter.output_parameter_key)
    return group.parameters.get(source.component_input_parameter or "")


def _value_of(source: ParameterSource, *, group: Values, sibling: Sibling) -> str:
    value = _found(source, group=group, sibling=sibling)
    if not isinstance(value, str) or not value:
        raise DataRejected(
            f"the name of a Secret, ConfigMap or claim has no value: {source.model_dump(exclude_none=True)}"
        )
    return value
