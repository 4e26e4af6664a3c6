"""The next steps of a whole run, from its records alone: the planner of one DAG, applied from the root down. Pure.

The engine applies the steps, asks again, and stops when there are none but what already runs. Because nothing but the
records is consulted, a run goes on after a crash exactly where it was.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from embedded.control_plane.engine.collected import dag_outputs, items_of, loop_outputs
from embedded.control_plane.engine.condition import evaluate_condition
from embedded.control_plane.engine.inputs import Resolver
from embedded.control_plane.engine.job import task_job_of
from embedded.control_plane.engine.plan import decide_dag, decide_loop
from embedded.control_plane.engine.records import (
    ROOT,
    Records,
    TaskKind,
    TaskRecord,
    TaskState,
    child_path,
)
from embedded.control_plane.engine.spec import Component, Dag, PipelineSpec, Task
from embedded.control_plane.engine.templates import check_templates
from embedded.control_plane.engine.values import Values
from embedded.control_plane.errors import DataRejected

_NOTHING = Values()


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
    """One look at a run. job: the values of job-wide placeholders. is_lenient: see inputs.py and collected.py."""

    spec: PipelineSpec
    records: Records
    job: Mapping[str, str]
    is_canceling: bool = False
    is_lenient: bool = False

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
                # After a loop the path goes on with the number of the iteration, which names no task.
                next(parts, None)
        assert task is not None, "a path has at least one part"
        return task

    def _dag_steps(self, path: str, component: Component, inputs: Values) -> Iterator[Step]:
        dag = component.dag
        assert dag is not None, f"{path} was opened as a group, but is a leaf"
        children = {name: record for name in dag.tasks if (record := self.records.get(child_path(path, name)))}
        states = {name: record.state for name, record in children.items()}
        refused = frozenset(name for name, record in children.items() if record.is_refused)
        decision = decide_dag(dag, states, is_canceling=self.is_canceling, refused=refused)
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
            yield self._end_of_loop(loop, component, list(iterations.values()), decision.final_state)
            return
        for index in decision.start:
            yield self._begin_iteration(loop, task, component, index)
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
            job = {**self.job, **task_job_of(self.job, path, name)}
            resolver = Resolver(group, children.__getitem__, job, self.is_lenient)
            inputs = resolver.inputs_of(task, component)
            if not self.is_lenient:
                check_templates(task, inputs, self._words_of(component))
            condition = task.trigger_policy.condition
            if condition and not evaluate_condition(condition, inputs.parameters):
                return End(
                    path,
                    TaskState.SKIPPED,
                    error=f"the condition is false: {condition}",
                    begin=Begin(path, name, display_name, kind, inputs),
                )
            num_items = len(items_of(inputs, task)) if task.is_loop else 0
        except DataRejected as error:
            begin = Begin(path, name, display_name, kind, inputs)
            return End(path, TaskState.FAILED, error=str(error), begin=begin)
        return Begin(path, name, display_name, kind, inputs, num_items)

    def _begin_iteration(self, loop: TaskRecord, task: Task, component: Component, index: int) -> Step:
        path, name = child_path(loop.path, index), f"{loop.display_name} {index}"
        item, inputs = items_of(loop.inputs, task)[index], loop.inputs
        try:
            if task.artifact_iterator:
                artifacts = {**inputs.artifacts, task.artifact_iterator.item_input: (item,)}
                inputs = inputs.model_copy(update={"artifacts": artifacts})
            else:
                resolver = Resolver(inputs, self.records.__getitem__, self.job, self.is_lenient)
                inputs = resolver.iteration_of(inputs, task, component, item)
        except DataRejected as error:
            begin = Begin(path, str(index), name, TaskKind.ITERATION, Values())
            return End(path, TaskState.FAILED, error=str(error), begin=begin)
        return Begin(path, str(index), name, TaskKind.ITERATION, inputs)

    def _end_of_loop(
        self, loop: TaskRecord, component: Component, iterations: list[TaskRecord], state: TaskState
    ) -> End:
        failed = next((f"item {r.name}: {r.error}" for r in iterations if r.state is TaskState.FAILED), "")
        if state is not TaskState.SUCCEEDED:
            return End(loop.path, state, error=failed)
        outputs = loop_outputs(self.spec, component, iterations, is_lenient=self.is_lenient)
        return End(loop.path, state, outputs=outputs)

    def _words_of(self, component: Component) -> tuple[str, ...]:
        container = self.spec.executor_of(component).container
        return (*container.command, *container.args) if container else ()

    def _kind_of(self, task: Task) -> TaskKind:
        component = self.spec.component_of(task)
        if task.is_loop:
            return TaskKind.LOOP
        if component.dag is not None:
            return TaskKind.DAG
        return TaskKind.IMPORTER if self.spec.executor_of(component).importer else TaskKind.CONTAINER


def _end_of_dag(path: str, dag: Dag, children: Mapping[str, TaskRecord], state: TaskState) -> End:
    failures = (
        f"{name}: {child.error}"
        for name, child in children.items()
        if child.state is TaskState.FAILED and not dag.tasks[name].is_hook
    )
    outputs = dag_outputs(dag, children) if state is TaskState.SUCCEEDED else _NOTHING
    return End(path, state, outputs=outputs, error=next(failures, ""))
