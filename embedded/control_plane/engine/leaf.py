"""Running one leaf task: its folders, its environment, its process, its outputs. Called in a worker thread."""

import shutil
import sys
import tempfile
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from embedded.control_plane.engine import claims
from embedded.control_plane.engine.artifact_store import ArtifactStore
from embedded.control_plane.engine.environment import notes_of, task_environment
from embedded.control_plane.engine.environments import EnvironmentBuilder, variables_in
from embedded.control_plane.engine.executor_io import collect_outputs, executor_input_of
from embedded.control_plane.engine.job import task_job_of
from embedded.control_plane.engine.kubernetes_spec import KubernetesExecutor, Pipeline
from embedded.control_plane.engine.mounts import make_mounts, with_folders
from embedded.control_plane.engine.pip_calls import pip_needs_of
from embedded.control_plane.engine.placeholders import fill_command
from embedded.control_plane.engine.records import RunRequest, TaskRecord
from embedded.control_plane.engine.roots import Root, root_of
from embedded.control_plane.engine.spec import Component, Container
from embedded.control_plane.engine.task_process import TaskCommand, TaskExit, TaskProcess, exit_of
from embedded.control_plane.engine.values import Values
from ratchet.core.errors import RatchetError


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

    @property
    def environments_dir(self) -> Path:
        return self.data_dir / "environments"

    @property
    def volumes_dir(self) -> Path:
        return self.data_dir / "volumes"

    @property
    def staging_dir(self) -> Path:
        return self.data_dir / "staging"

    def logs_of(self, run_id: str, path: str) -> Path:
        return self.data_dir / "logs" / run_id / path

    def log_of(self, run_id: str, path: str, attempt: int) -> Path:
        return self.logs_of(run_id, path) / f"attempt-{attempt}.log"

    def exit_of(self, run_id: str, record: TaskRecord) -> Path:
        """Names the record as well as the attempt: a task that a retry forgot does not bequeath its end."""
        name = f"attempt-{record.attempt}-{record.created_at.timestamp():.6f}.exit"
        return self.logs_of(run_id, record.path) / name

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
    record: TaskRecord
    pipeline: Pipeline
    component: Component
    container: Container
    kubernetes: KubernetesExecutor
    """With all names resolved."""
    job: dict[str, str]
    root: Root
    """Of the run."""
    memory_bytes_max: int
    is_resumed: bool
    """It may have ended while no server listened."""

    @property
    def path(self) -> str:
        return self.record.path

    @property
    def output_root(self) -> Root:
        return self.root.joined(self.path)


@dataclass(frozen=True)
class LeafResult:
    exit: TaskExit
    outputs: Values = field(default_factory=Values)


def run_root(request: RunRequest, folders: Folders, pipeline: Pipeline) -> Root:
    """Where a run keeps its artifacts: as the request says, else the pipeline, else in this backend's own folder."""
    asked = request.pipeline_root or pipeline.spec.default_pipeline_root
    return root_of(asked, data_dir=folders.data_dir).joined(pipeline.name, request.run_id)


def run_leaf(leaf: LeafAttempt, process: TaskProcess, folders: Folders) -> LeafResult:
    """Run a container task once and collect its outputs. Whatever is wrong with it comes back as a failed exit."""
    scratch_dir = Path(tempfile.mkdtemp(prefix=folders.scratch_prefix))
    try:
        operation = claims.operation_of(leaf.container.image)
        if operation is not None:
            return _run_operation(leaf, operation, folders)
        task_exit = _earlier_exit(leaf, folders) or _run_command(leaf, process, folders, scratch_dir)
        if not task_exit.is_success:
            return LeafResult(task_exit)
        outputs = collect_outputs(leaf.component, folder=leaf.output_root.folder)
        store = ArtifactStore(folders.secrets_dir)
        inputs = leaf.record.inputs
        outputs = store.stage_out(outputs, leaf.output_root, inputs=inputs, folder=_staging_dir(leaf, folders))
        return LeafResult(task_exit, outputs)
    except (RatchetError, OSError, UnicodeDecodeError) as error:
        return LeafResult(TaskExit.failure(str(error)))
    finally:
        shutil.rmtree(scratch_dir, ignore_errors=True)
        shutil.rmtree(_staging_dir(leaf, folders), ignore_errors=True)


def write_notes(log_path: Path, notes: Iterable[str]) -> None:
    """Lines of ours in the log of a task, made if need be."""
    log_path.parent.mkdir(parents=True, exist_ok=True)
    with log_path.open("a") as log:
        log.writelines(f"[control plane] {note}\n" for note in notes)


def _run_operation(leaf: LeafAttempt, operation: Callable[..., Values], folders: Folders) -> LeafResult:
    log_path = folders.log_of(leaf.run_id, leaf.path, leaf.record.attempt)
    ignored = [f"{name} has no meaning on one machine: ignored." for name in claims.ignored_in(leaf.record.inputs)]
    write_notes(log_path, [*ignored, f"claims are folders in {folders.volumes_dir}."])
    task_id = f"{leaf.run_id}/{leaf.path}"
    outputs = operation(leaf.record.inputs, task_id=task_id, volumes_dir=folders.volumes_dir)
    return LeafResult(exit_of(0, log_path), outputs)


def _earlier_exit(leaf: LeafAttempt, folders: Folders) -> TaskExit | None:
    """How this attempt ended before this server started; None when it has yet to run."""
    path = folders.exit_of(leaf.run_id, leaf.record)
    if not leaf.is_resumed or not path.is_file():
        return None
    return exit_of(int(path.read_text()), folders.log_of(leaf.run_id, leaf.path, leaf.record.attempt))


def _run_command(leaf: LeafAttempt, process: TaskProcess, folders: Folders, scratch_dir: Path) -> TaskExit:
    output_dir = leaf.output_root.folder
    shutil.rmtree(output_dir, ignore_errors=True)
    output_dir.mkdir(parents=True)
    log_path = folders.log_of(leaf.run_id, leaf.path, leaf.record.attempt)
    write_notes(log_path, notes_of(leaf.container, leaf.kubernetes))
    with ExitStack() as held:
        command = _command_of(leaf, process, folders, scratch_dir=scratch_dir, log_path=log_path, held=held)
        return process.run(command)


def _staging_dir(leaf: LeafAttempt, folders: Folders) -> Path:
    """Where S3 inputs are put. The same after a crash, so that an output that hands one on is still known."""
    return folders.staging_dir / leaf.run_id / leaf.path


def _command_of(
    leaf: LeafAttempt, process: TaskProcess, folders: Folders, *, scratch_dir: Path, log_path: Path, held: ExitStack
) -> TaskCommand:
    """held: what must stay while the command runs."""
    container, record = leaf.container, leaf.record
    staging_dir, output_dir = _staging_dir(leaf, folders), leaf.output_root.folder
    inputs = ArtifactStore(folders.secrets_dir).stage_in(record.inputs, staging_dir)
    executor_input = executor_input_of(leaf.component, inputs, root=leaf.output_root, given=record.inputs)
    job = {**leaf.job, **task_job_of(leaf.job, leaf.path, record.name)}
    mounts = make_mounts(
        leaf.kubernetes,
        scratch_dir=scratch_dir,
        secrets_dir=folders.secrets_dir,
        volumes_dir=folders.volumes_dir,
        run_id=leaf.run_id,
        ours=(scratch_dir, output_dir, staging_dir, folders.project_dir, Path(sys.prefix)),
    )
    write_notes(log_path, [mount.note for mount in mounts])
    env = task_environment(
        container,
        leaf.kubernetes,
        executor_input=executor_input,
        job=job,
        secrets_dir=folders.secrets_dir,
        project_dir=folders.project_dir,
        tmp_dir=scratch_dir,
    )
    env |= {variable.name: with_folders(env[variable.name], mounts) for variable in container.env}
    words = fill_command(
        (*container.command, *container.args),
        executor_input=executor_input,
        job=job,
        given=frozenset(record.inputs.parameters),
    )
    mark = folders.mark_of(leaf.run_id, leaf.path, record.attempt)
    needs = pip_needs_of((*container.command, *container.args))
    if not needs.is_nothing:
        builder = EnvironmentBuilder(folders.environments_dir, process, log_path=log_path, mark=mark, cwd=scratch_dir)
        env = variables_in(held.enter_context(builder.environment_for(needs)), env, needs=needs)
    return TaskCommand(
        words=tuple(with_folders(word, mounts) for word in words),
        env=env,
        cwd=scratch_dir,
        log_path=log_path,
        mark=mark,
        timeout_s=leaf.kubernetes.active_deadline_seconds,
        memory_bytes_max=leaf.memory_bytes_max,
        exit_path=folders.exit_of(leaf.run_id, record),
    )
