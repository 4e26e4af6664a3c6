"""Running one leaf task: its folders, its environment, its process, its outputs. Called in a worker thread."""

import shutil
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from embedded.control_plane.engine.environment import notes_of, task_environment
from embedded.control_plane.engine.executor_io import collect_outputs, executor_input_of
from embedded.control_plane.engine.placeholders import fill_command
from embedded.control_plane.engine.records import RunRequest
from embedded.control_plane.engine.spec import Component, Pipeline
from embedded.control_plane.engine.task_process import TaskCommand, TaskExit, TaskProcess
from embedded.control_plane.engine.values import Values
from ratchet.core.errors import DataRejected


@dataclass(frozen=True)
class Folders:
    """Where the engine keeps what tasks write. Paths of tasks consist of checked names, so they stay inside."""

    data_dir: Path
    secrets_dir: Path
    project_dir: Path
    engine_id: str

    @property
    def artifacts_dir(self) -> Path:
        return self.data_dir / "artifacts"

    def outputs_of(self, pipeline: str, run_id: str, path: str) -> Path:
        return self.artifacts_dir / pipeline / run_id / path

    def logs_of(self, run_id: str, path: str) -> Path:
        return self.data_dir / "logs" / run_id / path

    def log_of(self, run_id: str, path: str, attempt: int) -> Path:
        return self.logs_of(run_id, path) / f"attempt-{attempt}.log"

    def mark_of(self, run_id: str, path: str, attempt: int) -> str:
        return f"{self.engine_id}:{run_id}:{path}:{attempt}:"

    @property
    def scratch_prefix(self) -> str:
        return f"kfp-{self.engine_id[:12]}-"

    def clear_scratch(self) -> None:
        """Remove what the tasks of an engine that was killed left in the temporary folder."""
        for path in Path(tempfile.gettempdir()).glob(f"{self.scratch_prefix}*"):
            shutil.rmtree(path, ignore_errors=True)


@dataclass(frozen=True)
class LeafAttempt:
    """All that one attempt needs. `job` holds the values of the placeholders that concern the run."""

    run_id: str
    path: str
    name: str
    attempt: int
    pipeline: Pipeline
    component: Component
    inputs: Values
    job: dict[str, str]


@dataclass(frozen=True)
class LeafResult:
    exit: TaskExit
    outputs: Values = field(default_factory=Values)


def job_of(request: RunRequest, folders: Folders, pipeline: Pipeline) -> dict[str, str]:
    """Values of the placeholders that are the same for all tasks of a run."""
    return {
        "pipeline_job_name": request.display_name,
        "pipeline_job_resource_name": request.run_id,
        "pipeline_job_uuid": request.run_id,
        "pipeline_root": str(folders.artifacts_dir / pipeline.name / request.run_id),
        "pipeline_job_create_time_utc": f"{request.created_at:%Y-%m-%dT%H:%M:%SZ}",
        "pipeline_job_schedule_time_utc": f"{request.scheduled_at:%Y-%m-%dT%H:%M:%SZ}",
    }


def run_leaf(leaf: LeafAttempt, process: TaskProcess, folders: Folders) -> LeafResult:
    """Run a container task once and collect its outputs. Whatever is wrong with it comes back as a failed exit."""
    output_dir = folders.outputs_of(leaf.pipeline.name, leaf.run_id, leaf.path)
    scratch_dir = Path(tempfile.mkdtemp(prefix=folders.scratch_prefix))
    try:
        shutil.rmtree(output_dir, ignore_errors=True)
        output_dir.mkdir(parents=True)
        command = _command_of(leaf, folders, output_dir=output_dir, scratch_dir=scratch_dir)
        task_exit = process.run(command)
        outputs = collect_outputs(leaf.component, folder=output_dir) if task_exit.is_success else Values()
        return LeafResult(task_exit, outputs)
    except (DataRejected, OSError, UnicodeDecodeError) as error:
        return LeafResult(TaskExit.failure(str(error)))
    finally:
        shutil.rmtree(scratch_dir, ignore_errors=True)


def write_notes(log_path: Path, notes: Iterable[str]) -> None:
    """Lines of ours in the log of a task, made if need be."""
    log_path.parent.mkdir(parents=True, exist_ok=True)
    with log_path.open("a") as log:
        log.writelines(f"[control plane] {note}\n" for note in notes)


def _command_of(leaf: LeafAttempt, folders: Folders, *, output_dir: Path, scratch_dir: Path) -> TaskCommand:
    label = leaf.component.executor_label or ""
    container = leaf.pipeline.spec.deployment_spec.executors[label].container
    assert container is not None, f"{leaf.path} is not a container task"
    kubernetes = leaf.pipeline.kubernetes_of(label)
    executor_input = executor_input_of(leaf.component, leaf.inputs, folder=output_dir)
    job = {**leaf.job, "pipeline_task_name": leaf.name, "pipeline_task_uuid": leaf.path}
    log_path = folders.log_of(leaf.run_id, leaf.path, leaf.attempt)
    write_notes(log_path, notes_of(container, kubernetes))
    env = task_environment(
        container,
        kubernetes,
        inputs=leaf.inputs,
        executor_input=executor_input,
        job=job,
        secrets_dir=folders.secrets_dir,
        project_dir=folders.project_dir,
        tmp_dir=scratch_dir,
    )
    return TaskCommand(
        words=fill_command((*container.command, *container.args), executor_input=executor_input, job=job),
        env=env,
        cwd=scratch_dir,
        log_path=log_path,
        mark=folders.mark_of(leaf.run_id, leaf.path, leaf.attempt),
        timeout_s=kubernetes.active_deadline_seconds,
    )
