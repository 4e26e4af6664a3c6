"""Running one leaf task: its folders, its commands, its outputs. Called in a worker thread."""

import shutil
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path

from embedded.control_plane.engine import claims
from embedded.control_plane.engine.artifact_store import ArtifactStore
from embedded.control_plane.engine.attempt import Folders, LeafAttempt, write_notes
from embedded.control_plane.engine.environment import notes_of
from embedded.control_plane.engine.executor_io import collect_outputs, imported_artifact
from embedded.control_plane.engine.executors import Importer
from embedded.control_plane.engine.leaf_commands import commands_of, file_taker
from embedded.control_plane.engine.mounts import lasting_mounts, with_mount_paths
from embedded.control_plane.engine.task_process import Ending, TaskExit, TaskProcess, exit_of
from embedded.control_plane.engine.values import Values
from embedded.control_plane.engine.workspace import IN_WORKSPACE, imported_path, workspace_mount
from embedded.control_plane.errors import ControlPlaneError


@dataclass(frozen=True)
class LeafResult:
    exit: TaskExit
    outputs: Values = field(default_factory=Values)


def run_leaf(leaf: LeafAttempt, process: TaskProcess, folders: Folders) -> LeafResult:
    """Run a task once and collect its outputs. Whatever is wrong with it comes back as a failed exit."""
    scratch_dir = Path(tempfile.mkdtemp(prefix=folders.scratch_prefix))
    try:
        if leaf.importer:
            return _import_to_workspace(leaf, leaf.importer, folders)
        operation = claims.operation_of(leaf.container.image)
        if operation is not None:
            return _run_operation(leaf, operation, folders)
        return _run_container(leaf, process, folders, scratch_dir)
    except (ControlPlaneError, OSError, ValueError) as error:  # a ValueError: text that no program or path can have
        return LeafResult(TaskExit.failure(str(error)))
    finally:
        shutil.rmtree(scratch_dir, ignore_errors=True)
        shutil.rmtree(leaf.staging_dir(folders), ignore_errors=True)


def _run_operation(leaf: LeafAttempt, operation: Callable[..., Values], folders: Folders) -> LeafResult:
    log_path = leaf.log_path(folders)
    ignored = [f"{name} has no meaning on one machine: ignored." for name in claims.ignored_in(leaf.record.inputs)]
    write_notes(log_path, [*ignored, f"claims are folders in {folders.volumes_dir}."])
    task_id = f"{leaf.run_id}/{leaf.path}"
    outputs = operation(leaf.record.inputs, task_id=task_id, volumes_dir=folders.volumes_dir)
    return LeafResult(exit_of(0, log_path), outputs)


def _import_to_workspace(leaf: LeafAttempt, importer: Importer, folders: Folders) -> LeafResult:
    """Source: kubeflow/pipelines, backend/src/v2/component/importer_launcher.go, ImportSpecToMLMDArtifact."""
    log_path = leaf.log_path(folders)
    artifact = imported_artifact(importer, leaf.record.inputs, job=leaf.task_job)
    path = imported_path(artifact, leaf.workspace_dir(folders))
    ArtifactStore(folders.secrets_dir).copy_in(artifact.uri, path)
    write_notes(log_path, [f"{artifact.uri} was copied to {path}."])
    key = next(iter(leaf.component.output_definitions.artifacts), "artifact")
    flagged = artifact.model_copy(update={"metadata": {**artifact.metadata, IN_WORKSPACE: True}})
    return LeafResult(exit_of(0, log_path), Values(artifacts={key: (flagged,)}))


def _run_container(leaf: LeafAttempt, process: TaskProcess, folders: Folders, scratch_dir: Path) -> LeafResult:
    with ExitStack() as held:
        task_exit = _earlier_exit(leaf, folders) or _run_commands(leaf, process, folders, scratch_dir, held)
        if not task_exit.is_success:
            return LeafResult(task_exit)
        found = collect_outputs(
            leaf.component, folder=leaf.output_root.folder, take=file_taker(leaf, folders, cwd=scratch_dir)
        )
    lasting = lasting_mounts(leaf.kubernetes, volumes_dir=folders.volumes_dir)
    lasting += [workspace_mount(leaf.workspace_dir(folders))] if leaf.pipeline.has_workspace else []
    outputs = found.model_copy(update={"parameters": with_mount_paths(found.parameters, lasting)})
    store, inputs = ArtifactStore(folders.secrets_dir), leaf.record.inputs
    outputs = store.stage_out(outputs, leaf.output_root, inputs=inputs, folder=leaf.staging_dir(folders))
    return LeafResult(task_exit, outputs)


def _earlier_exit(leaf: LeafAttempt, folders: Folders) -> TaskExit | None:
    """How this attempt ended before this server started; None when it has yet to run."""
    path = folders.exit_of(leaf.run_id, leaf.record)
    if not leaf.is_resumed or not path.is_file():
        return None
    return exit_of(int(path.read_text()), leaf.log_path(folders))


def _run_commands(
    leaf: LeafAttempt, process: TaskProcess, folders: Folders, scratch_dir: Path, held: ExitStack
) -> TaskExit:
    """Init containers first, as on a cluster; the first command that fails is the task's end."""
    output_dir = leaf.output_root.folder
    # A retry, or a run anew after a crash, must not collect what an earlier attempt wrote.
    shutil.rmtree(output_dir, ignore_errors=True)
    output_dir.mkdir(parents=True)
    log_path = leaf.log_path(folders)
    is_own_image = folders.container_engine is not None
    given = leaf.record.inputs.parameters
    write_notes(log_path, notes_of(leaf.container, leaf.kubernetes, parameters=given, is_own_image=is_own_image))
    task_exit = TaskExit(Ending.EXITED, 0)
    for what, command in commands_of(leaf, process, folders, scratch_dir=scratch_dir, held=held):
        task_exit = process.run(command)
        if not task_exit.is_success:
            return replace(task_exit, message=f"{what}{task_exit.message}")
    return task_exit
