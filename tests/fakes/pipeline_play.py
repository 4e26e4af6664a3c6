"""A run without processes: the walk of the real engine, with a function in the place of each container."""

import tempfile
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml
from kfp import compiler

from embedded.control_plane.engine.go_text import plain_of
from embedded.control_plane.engine.inputs import root_arguments, with_defaults
from embedded.control_plane.engine.loading import load_pipeline
from embedded.control_plane.engine.records import ROOT, TaskKind, TaskRecord, TaskState
from embedded.control_plane.engine.values import Values
from embedded.control_plane.engine.walk import Begin, End, Walk
from ratchet.core.errors import DataRejected

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
JOB = {"pipeline_job_uuid": "run-1", "pipeline_job_resource_name": "p-abcde"}
Leaves = Mapping[str, Callable[..., Any]]
Played = dict[str, TaskRecord]


def compiled(pipeline: Any) -> dict[str, Any]:
    """The IR that kfp's compiler writes."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "pipeline.yaml")
        compiler.Compiler().compile(pipeline, str(path))
        wire: dict[str, Any] = yaml.safe_load(path.read_text())
    return wire


def play(
    wire: Mapping[str, Any], leaves: Leaves, arguments: Mapping[str, Any] | None = None, *, is_lenient: bool = False
) -> Played:
    """All records of the run once it is over, by path.

    leaves: component to what it does: the output `Output`; RuntimeError fails the task.
    """
    spec = load_pipeline(dict(wire)).spec
    inputs = Values(parameters=root_arguments(spec, arguments or {}))
    records = {ROOT: _record(Begin(ROOT, "root", "root", TaskKind.DAG, inputs))}
    walk = Walk(spec, records, JOB, is_lenient=is_lenient)
    while steps := list(walk.steps()):
        for step in steps:
            begin = step if isinstance(step, Begin) else step.begin
            if begin:
                is_refused = isinstance(step, End) and step.state is TaskState.FAILED
                records[begin.path] = _record(begin).model_copy(update={"is_refused": is_refused})
            if isinstance(step, End):
                ended = {"state": step.state, "outputs": step.outputs, "error": step.error}
                records[step.path] = records[step.path].model_copy(update=ended)
            elif step.kind.is_leaf:
                records[step.path] = _run(walk, records[step.path], leaves)
    return records


def outcome_of(played: Played, path: str) -> Any:
    """The one output of a task that succeeded; else its state."""
    record = played[path]
    return (
        record.outputs.parameters.get("Output", record.state.value)
        if record.state is TaskState.SUCCEEDED
        else (record.state.value)
    )


def _record(begin: Begin) -> TaskRecord:
    return TaskRecord(
        path=begin.path,
        name=begin.name,
        display_name=begin.display_name,
        kind=begin.kind,
        state=TaskState.RUNNING,
        inputs=begin.inputs,
        num_items=begin.num_items,
        created_at=NOON,
    )


def _run(walk: Walk, record: TaskRecord, leaves: Leaves) -> TaskRecord:
    task = walk.task_at(record.path)
    component = walk.spec.component_of(task)
    given = with_defaults(record.inputs.parameters, component.input_definitions)
    given = {name: value for name, value in given.items() if not name.startswith("pipelinechannel--")}
    deed = leaves[task.component_ref.name.removeprefix("comp-").rstrip("-0123456789")]
    try:
        result = deed(**given)
    except (RuntimeError, DataRejected) as error:
        return record.model_copy(update={"state": TaskState.FAILED, "error": str(error)})
    outputs = Values(parameters=plain_of({"Output": result}))
    return record.model_copy(update={"state": TaskState.SUCCEEDED, "outputs": outputs})
