"""What flows between the tasks of a pipeline must exist, and reach them on a cluster: checked at upload. Pure.

Sources: kubeflow/pipelines, backend/src/v2/component/launcher_v2.go (collectOutputParameters); driver/resolve.go
(resolveUpstreamParameters, resolveInputParameter); compiler/argocompiler/dag.go (DAG: exit hooks).
"""

import re
from collections.abc import Iterator

from embedded.control_plane.engine.spec import Component, Dag, PipelineSpec, Task
from ratchet.core.errors import DataRejected

_OF_INPUTS = re.compile(r"\{\{\$\.inputs\.")
_OF_THE_RUN = re.compile(r"\{\{\$\.pipeline_\w+\}\}")


def check_flow(spec: PipelineSpec, name: str, component: Component) -> None:
    """DataRejected for the first input or output of a group that nothing gives. name: of the component."""
    dag = component.dag
    if dag is None:
        return
    for kind, declared, given in (
        ("parameter", component.output_definitions.parameters, dag.outputs.parameters),
        ("artifact", component.output_definitions.artifacts, dag.outputs.artifacts),
    ):
        if missing := declared.keys() - given.keys():
            raise DataRejected(f"component {name} declares the output {kind} {sorted(missing)[0]!r}; no task gives it.")
    for reader, producer, kind, key in (*_reads(dag), *_hands_on(dag)):
        outputs = spec.component_of(dag.tasks[producer]).output_definitions
        known = outputs.parameters.keys() if kind == "parameter" else outputs.artifacts.keys()
        if key not in known:
            raise DataRejected(
                f"component {name}: {reader} reads the output {kind} {key!r} of task {producer}, which does not "
                f"declare it. It declares: {', '.join(sorted(known)) or 'none'}."
            )
    for task_name, task in dag.tasks.items():
        _check_texts(task_name, task, is_group=spec.component_of(task).dag is not None)
    _check_hooks(dag)


def _reads(dag: Dag) -> Iterator[tuple[str, str, str, str]]:
    """Reader, producer, kind and key of all that tasks take from each other."""
    for name, task in dag.tasks.items():
        for parameter in task.inputs.parameters.values():
            if source := parameter.task_output_parameter:
                yield f"task {name}", source.producer_task, "parameter", source.output_parameter_key
        for artifact in task.inputs.artifacts.values():
            if made := artifact.task_output_artifact:
                yield f"task {name}", made.producer_task, "artifact", made.output_artifact_key


def _hands_on(dag: Dag) -> Iterator[tuple[str, str, str, str]]:
    for key, output in dag.outputs.parameters.items():
        for chosen in output.selectors:
            yield f"its output {key!r}", chosen.producer_subtask, "parameter", chosen.output_parameter_key
    for key, selected in dag.outputs.artifacts.items():
        for option in selected.artifact_selectors:
            yield f"its output {key!r}", option.producer_subtask, "artifact", option.output_artifact_key


def _check_texts(name: str, task: Task, *, is_group: bool) -> None:
    """A cluster's driver replaces a placeholder of the run that is all of a constant; its launcher those of inputs."""
    for key, source in task.inputs.parameters.items():
        text = source.runtime_value.constant if source.runtime_value else None
        if not isinstance(text, str):
            continue
        if (found := _OF_THE_RUN.search(text)) and found[0] != text:
            raise DataRejected(
                f"task {name}: the input {key} has {found[0]} inside a longer text, where a cluster leaves it as it "
                "is. Pass the placeholder as an input of its own."
            )
        if is_group and _OF_INPUTS.search(text):
            raise DataRejected(
                f"task {name}: the input {key} of a nested pipeline is a text around other values, which a cluster "
                "hands on unfilled. Build the text in a component, and pass its output."
            )


def _check_hooks(dag: Dag) -> None:
    """On a cluster a hook belongs to the task after which it runs, which has one at most, and nothing waits for it."""
    hook_of: dict[str, str] = {}
    for name, task in sorted(dag.tasks.items()):
        if awaited := sorted(other for other in task.upstream if dag.tasks[other].is_hook):
            raise DataRejected(
                f"task {name} waits for {awaited[0]}, which is an exit task or ignores failures: a cluster runs such a "
                "task beside the pipeline, and no task can wait for it."
            )
        if not task.is_hook:
            continue
        if not task.upstream:
            raise DataRejected(f"task {name} ignores failures of earlier tasks, but it has none: it would not run.")
        for guarded in sorted(task.upstream):
            if guarded in hook_of:
                raise DataRejected(
                    f"tasks {hook_of[guarded]} and {name} both run after {guarded} however it ends; a cluster runs "
                    "only the last of them. Put one after the other in a nested pipeline."
                )
            hook_of[guarded] = name
