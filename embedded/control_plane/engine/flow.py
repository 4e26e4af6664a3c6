"""What flows between the tasks of a pipeline must exist, and reach them on a cluster: checked at upload. Pure.

Sources: kubeflow/pipelines, backend/src/v2/component/launcher_v2.go (collectOutputParameters); driver/resolve.go
(resolveUpstreamParameters, resolveInputParameter); component/importer_launcher.go (ImportSpecToMLMDArtifact);
compiler/argocompiler/dag.go (DAG: exit hooks).
"""

import re
from collections.abc import Iterator

from embedded.control_plane.engine.placeholders import check_placeholders
from embedded.control_plane.engine.spec import Component, Dag, PipelineSpec, Task
from embedded.control_plane.engine.templates import texts_in
from embedded.control_plane.engine.workspace import WORKSPACE_PLACEHOLDER
from embedded.control_plane.errors import DataRejected

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
        _check_importer(spec, task_name, task)
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
        constant = source.runtime_value.constant if source.runtime_value else None
        where = f"task {name}: the input {key}"
        for text in texts_in(constant):
            check_placeholders(text, where=where, is_input=True)
            if (found := _OF_THE_RUN.search(text)) and found[0] != constant:
                raise DataRejected(
                    f"{where} has {found[0]} inside a longer text, or a list or object, where a cluster leaves it as "
                    "it is. Pass the placeholder as an input of its own."
                )
            if WORKSPACE_PLACEHOLDER in text and not isinstance(constant, str):
                raise DataRejected(
                    f"{where} has {WORKSPACE_PLACEHOLDER} in a list or object, where a cluster leaves it as it is. "
                    "Pass the path as an input of its own."
                )
            if is_group and _OF_INPUTS.search(text):
                raise DataRejected(
                    f"{where} of a nested pipeline is a constant around other values, which a cluster hands on "
                    "unfilled. Build it in a component, and pass its output."
                )


def _check_importer(spec: PipelineSpec, name: str, task: Task) -> None:
    """importer_launcher.go, ImportSpecToMLMDArtifact: the address is read from the inputs of the group."""
    importer = spec.executor_of(spec.component_of(task)).importer
    key = importer.artifact_uri.runtime_parameter if importer else None
    source = task.inputs.parameters.get(key or "")
    if key and (source is None or not source.component_input_parameter or source.parameter_expression_selector):
        raise DataRejected(
            f"task {name}: an importer's address must be an input of the pipeline that it is in; the output of a task, "
            "or a field of an item, fails on a cluster. Put the importer into a nested pipeline, and pass it the "
            "address."
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
