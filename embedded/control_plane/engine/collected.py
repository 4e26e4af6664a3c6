"""Fan-out and fan-in: the items of a loop, and what groups and loops hand on of what was made in them. Pure.

Sources: kubeflow/pipelines, backend/src/v2/driver/util.go (getItems) and
driver/resolve.go (CollectInputs, GetProducerTask).
"""

from collections.abc import Mapping
from typing import Any

from embedded.control_plane.engine.go_text import parse_json, plain_of
from embedded.control_plane.engine.records import TaskRecord
from embedded.control_plane.engine.spec import Component, Dag, PipelineSpec, Task
from embedded.control_plane.engine.values import Artifact, Values
from embedded.control_plane.errors import DataRejected

MAX_ITEMS = 10_000
"""Iterations of one loop; more is a mistake, or wants a batch of items each."""


def items_of(inputs: Values, task: Task) -> "list[Any] | tuple[Artifact, ...]":
    """One item for each iteration. DataRejected when there are too many, or the value is no list of items."""
    items = _artifact_items(inputs, task) if task.artifact_iterator else _parameter_items(inputs, task)
    if len(items) > MAX_ITEMS:
        raise DataRejected(f"the loop has {len(items)} items; the limit is {MAX_ITEMS}. Give each iteration a batch.")
    return items


def dag_outputs(dag: Dag, children: Mapping[str, TaskRecord]) -> Values:
    """For each output the first source that has a value: of several, all but one branch were skipped."""
    parameters: dict[str, Any] = {}
    for key, output in dag.outputs.parameters.items():
        for choice in output.selectors:
            produced = children[choice.producer_subtask].outputs.parameters
            if choice.output_parameter_key in produced:
                parameters[key] = produced[choice.output_parameter_key]
                break
    artifacts: dict[str, tuple[Artifact, ...]] = {}
    for key, selected in dag.outputs.artifacts.items():
        for option in selected.artifact_selectors:
            made = children[option.producer_subtask].outputs.artifacts
            if option.output_artifact_key in made:
                artifacts[key] = made[option.output_artifact_key]
                break
    return Values(parameters=parameters, artifacts=artifacts)


def loop_outputs(
    spec: PipelineSpec, component: Component, iterations: list[TaskRecord], *, is_lenient: bool = False
) -> Values:
    """What `Collected` reads: one list of all that was made, in order, however deep the loops are nested.

    An output that an iteration did not make (its branch was skipped) is no output of the loop: on a cluster the driver
    of its reader fails. is_lenient: the list leaves it out.
    """
    assert component.dag is not None, "a loop's component has a dag"
    parameters: dict[str, Any] = {}
    for key in component.dag.outputs.parameters:
        made = [record.outputs.parameters[key] for record in iterations if key in record.outputs.parameters]
        if len(made) == len(iterations) or is_lenient:
            is_nested = _is_collected(spec, component, key)
            parameters[key] = [one for several in made for one in several] if is_nested else made
    artifacts: dict[str, tuple[Artifact, ...]] = {}
    for key in component.dag.outputs.artifacts:
        groups = [record.outputs.artifacts[key] for record in iterations if key in record.outputs.artifacts]
        if len(groups) == len(iterations) or is_lenient:
            artifacts[key] = tuple(artifact for group in groups for artifact in group)
    return Values(parameters=parameters, artifacts=artifacts)


def _is_collected(spec: PipelineSpec, component: Component, key: str) -> bool:
    """Whether an output of a group is itself the list of a loop in it."""
    if component.dag is None or key not in component.dag.outputs.parameters:
        return False
    for choice in component.dag.outputs.parameters[key].selectors:
        task = component.dag.tasks[choice.producer_subtask]
        if task.is_loop or _is_collected(spec, spec.component_of(task), choice.output_parameter_key):
            return True
    return False


def _artifact_items(inputs: Values, task: Task) -> tuple[Artifact, ...]:
    assert task.artifact_iterator is not None, "asked for by the caller"
    return inputs.artifacts.get(task.artifact_iterator.items.input_artifact, ())


def _parameter_items(inputs: Values, task: Task) -> list[Any]:
    assert task.parameter_iterator is not None, "only loops have items"
    source = task.parameter_iterator.items
    value: Any = source.raw if source.raw is not None else inputs.parameters.get(source.input_parameter or "")
    if source.raw is not None:
        value = _parsed(source.raw)
    if isinstance(value, str):
        value = _parsed(value)
        return plain_of(value) if isinstance(value, list) else []  # as there: other JSON has no items
    if not isinstance(value, list):
        raise DataRejected(f"the loop's items are {value!r}, not a list.")
    return plain_of(value)


def _parsed(text: str) -> Any:
    try:
        return parse_json(text)
    except (ValueError, RecursionError):
        raise DataRejected(f"the loop's items are {text[:80]!r}, which is not a JSON list.") from None
