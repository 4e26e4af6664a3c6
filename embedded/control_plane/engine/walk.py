"""The next steps of a whole run, from its records alone: the planner of one DAG, applied from the root down. Pure.

The engine applies the steps, asks again, and stops when there are none but what already runs. Because nothing but the
records is consulted, a run goes on after a crash exactly where it was.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from embedded.control_plane.engine.condition import evaluate_condition
from embedded.control_plane.engine.inputs import resolve_inputs
from embedded.control_plane.engine.plan import decide_dag, decide_loop
from embedded.control_plane.engine.records import ROOT, Records, TaskKind, TaskRecord, TaskState, child_path
from embedded.control_plane.engine.spec import Component, Dag, PipelineSpec, Task
from embedded.control_plane.engine.values import Artifact, Values, plain_of
from ratchet.core.errors import DataRejected

_NOTHING = Values()
_MAX_ITEMS = 10_000
"""Iterations of one loop; more is a mistake, or wants a batch of items each."""


@dataclass(frozen=True)
class Begin:
    """A task begins: a group opens, or a leaf waits for its process."""

    path: str
    name: str
    display_name: str
    kind: TaskKind
    inputs: Values
    num_items: int = 0


@dataclass(frozen=True)
class End:
    """A group is over, or a task ends before it began (`begin` says what it would have been)."""

    path: str
    state: TaskState
    outputs: Values = _NOTHING
    error: str = ""
    begin: Begin | None = None


Step = Begin | End


@dataclass(frozen=True)
class Walk:
    """One look at a run. job: the values of job-wide placeholders."""

    spec: PipelineSpec
    records: Records
    job: Mapping[str, str]
    is_canceling: bool = False

    def steps(self) -> Iterator[Step]:
        """Everything that may happen now. Nothing when the run is over, or waits for its running leaves."""
        root = self.records[ROOT]
        if not root.state.is_final:
            yield from self._dag_steps(ROOT, self.spec.root, root.inputs)

    def task_at(self, path: str) -> Task:
        """The task at `path`; an iteration is of its loop's task."""
        component, task = self.spec.root, None
        parts = iter(path.split("/"))
        for part in parts:
            assert component.dag is not None, f"{path}: {part} is below a leaf"
            task = component.dag.tasks[part]
            component = self.spec.component_of(task)
            if task.is_loop:
                next(parts, None)
        assert task is not None, "a path has at least one part"
        return task

    def _dag_steps(self, path: str, component: Component, inputs: Values) -> Iterator[Step]:
        dag = component.dag
        assert dag is not None, f"{path} was opened as a group, but is a leaf"
        children = {name: record for name in dag.tasks if (record := self.records.get(child_path(path, name)))}
        states = {name: record.state for name, record in children.items()}
        decision = decide_dag(dag, states, is_canceling=self.is_canceling)
        if decision.final_state:
            yield _end_of_dag(path, dag, children, decision.final_state)
            return
        for name, reason in decision.skip.items():
            yield self._skip(child_path(path, name), name, dag.tasks[name], reason)
        for name in decision.start:
            yield self._begin(child_path(path, name), name, dag.tasks[name], inputs, children)
        for name, record in children.items():
            if not record.state.is_final and not record.kind.is_leaf:
                yield from self._group_steps(record, dag.tasks[name])

    def _group_steps(self, record: TaskRecord, task: Task) -> Iterator[Step]:
        component = self.spec.component_of(task)
        if record.kind is TaskKind.LOOP:
            yield from self._loop_steps(record, task, component)
        else:
            yield from self._dag_steps(record.path, component, record.inputs)

    def _loop_steps(self, loop: TaskRecord, task: Task, component: Component) -> Iterator[Step]:
        iterations = {
            index: record
            for index in range(loop.num_items)
            if (record := self.records.get(child_path(loop.path, index)))
        }
        decision = decide_loop(
            {index: record.state for index, record in iterations.items()},
            num_items=loop.num_items,
            parallelism_limit=task.iterator_policy.parallelism_limit,
            is_canceling=self.is_canceling,
        )
        if decision.final_state:
            yield _end_of_loop(loop, component, list(iterations.values()), decision.final_state)
            return
        for index in decision.start:
            inputs = _iteration_inputs(loop.inputs, task, index)
            name = str(index)
            yield Begin(child_path(loop.path, index), name, f"{loop.display_name} {index}", TaskKind.ITERATION, inputs)
        for record in iterations.values():
            if not record.state.is_final:
                yield from self._dag_steps(record.path, component, record.inputs)

    def _skip(self, path: str, name: str, task: Task, reason: str) -> End:
        begin = Begin(path, name, task.display_name or name, self._kind_of(task), Values())
        return End(path, TaskState.SKIPPED, error=reason, begin=begin)

    def _begin(self, path: str, name: str, task: Task, group: Values, children: Mapping[str, TaskRecord]) -> Step:
        display_name, kind = task.display_name or name, self._kind_of(task)
        inputs = Values()
        try:
            component = self.spec.component_of(task)
            job = {**self.job, "pipeline_task_name": name, "pipeline_task_uuid": path}
            inputs = resolve_inputs(task, component, group=group, sibling=children.__getitem__, job=job)
            condition = task.trigger_policy.condition
            if condition and not evaluate_condition(condition, inputs.parameters):
                return End(
                    path,
                    TaskState.SKIPPED,
                    error=f"the condition is false: {condition}",
                    begin=Begin(path, name, display_name, kind, inputs),
                )
            num_items = _num_items(inputs, task) if task.is_loop else 0
        except DataRejected as error:
            begin = Begin(path, name, display_name, kind, inputs)
            return End(path, TaskState.FAILED, error=str(error), begin=begin)
        return Begin(path, name, display_name, kind, inputs, num_items)

    def _kind_of(self, task: Task) -> TaskKind:
        component = self.spec.component_of(task)
        if task.is_loop:
            return TaskKind.LOOP
        if component.dag is not None:
            return TaskKind.DAG
        executor = self.spec.deployment_spec.executors[component.executor_label or ""]
        return TaskKind.IMPORTER if executor.importer else TaskKind.CONTAINER


def _num_items(inputs: Values, task: Task) -> int:
    num_items = len(_items_of(inputs, task))
    if num_items > _MAX_ITEMS:
        raise DataRejected(f"the loop has {num_items} items; the limit is {_MAX_ITEMS}. Give each iteration a batch.")
    return num_items


def _items_of(inputs: Values, task: Task) -> "list[Any] | tuple[Artifact, ...]":
    if task.artifact_iterator:
        return inputs.artifacts.get(task.artifact_iterator.items.input_artifact, ())
    assert task.parameter_iterator is not None, "only loops have items"
    source = task.parameter_iterator.items
    raw = source.raw if source.raw is not None else inputs.parameters.get(source.input_parameter or "")
    try:
        items = json.loads(raw) if isinstance(raw, str) else raw
    except ValueError:
        items = raw
    if isinstance(items, dict):
        items = list(items.items())
    if not isinstance(items, list):
        raise DataRejected(f"the loop's items are {items!r}, not a list.")
    return plain_of(items)


def _iteration_inputs(inputs: Values, task: Task, index: int) -> Values:
    item = _items_of(inputs, task)[index]
    if task.artifact_iterator:
        artifacts = {**inputs.artifacts, task.artifact_iterator.item_input: (item,)}
        return inputs.model_copy(update={"artifacts": artifacts})
    assert task.parameter_iterator is not None, "only loops have items"
    return inputs.model_copy(update={"parameters": {**inputs.parameters, task.parameter_iterator.item_input: item}})


def _end_of_dag(path: str, dag: Dag, children: Mapping[str, TaskRecord], state: TaskState) -> End:
    failed = next((f"{name}: {child.error}" for name, child in children.items() if child.state is TaskState.FAILED), "")
    outputs = _dag_outputs(dag, children) if state is TaskState.SUCCEEDED else Values()
    return End(path, state, outputs=outputs, error=failed)


def _dag_outputs(dag: Dag, children: Mapping[str, TaskRecord]) -> Values:
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


def _end_of_loop(loop: TaskRecord, component: Component, iterations: list[TaskRecord], state: TaskState) -> End:
    failed = next((f"item {r.name}: {r.error}" for r in iterations if r.state is TaskState.FAILED), "")
    assert component.dag is not None, "a loop's component has a dag"
    outputs = component.dag.outputs
    collected = Values(
        parameters={
            key: [r.outputs.parameters[key] for r in iterations if key in r.outputs.parameters]
            for key in outputs.parameters
        },
        artifacts={
            key: tuple(artifact for r in iterations for artifact in r.outputs.artifacts.get(key, ()))
            for key in outputs.artifacts
        },
    )
    return End(loop.path, state, outputs=collected if state is TaskState.SUCCEEDED else Values(), error=failed)
