"""One attempt of one leaf task, and the folders of the engine: what all that run it share."""

import shutil
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from embedded.control_plane.engine.executors import Container, Importer
from embedded.control_plane.engine.job import task_job_of
from embedded.control_plane.engine.kubernetes_spec import KubernetesExecutor, Pipeline
from embedded.control_plane.engine.pod_fields import Pod
from embedded.control_plane.engine.records import RunRequest, TaskRecord
from embedded.control_plane.engine.roots import Root, root_of
from embedded.control_plane.engine.spec import Component
from embedded.control_plane.engine.warm_steps import WarmSteps
from embedded.control_plane.host.container_engine import ContainerEngine


@dataclass(frozen=True)
class Folders:
    """Where the engine keeps what tasks write. Paths of tasks consist of checked names, so they stay inside."""

    data_dir: Path
    secrets_dir: Path
    project_dir: Path
    engine_id: str
    container_engine: ContainerEngine | None = None
    """What runs the tasks' images; None: their commands run as processes of this machine."""
    warm: WarmSteps | None = None
    """What forks steps that need no interpreter of their own."""

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

    @property
    def workspaces_dir(self) -> Path:
        return self.data_dir / "workspaces"

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
    importer: Importer | None = None
    """It copies an artifact into the workspace instead of running the container."""
    num_gpus: int = 0
    is_retried: bool = False
    """It has a retry policy."""

    @property
    def path(self) -> str:
        return self.record.path

    @property
    def output_root(self) -> Root:
        return self.root.joined(self.path)

    @property
    def task_job(self) -> dict[str, str]:
        return {**self.job, **task_job_of(self.job, self.path, self.record.name)}

    @property
    def pod(self) -> Pod:
        return Pod(self.job, self.path, self.record.attempt, self.kubernetes.pod_metadata, self.is_retried)

    def log_path(self, folders: Folders) -> Path:
        return folders.log_of(self.run_id, self.path, self.record.attempt)

    def mark(self, folders: Folders) -> str:
        return folders.mark_of(self.run_id, self.path, self.record.attempt)

    def workspace_dir(self, folders: Folders) -> Path:
        return folders.workspaces_dir / self.run_id

    def staging_dir(self, folders: Folders) -> Path:
        """Where S3 inputs are put. The same after a crash, so that an output that hands one on is still known."""
        return folders.staging_dir / self.run_id / self.path


def run_root(request: RunRequest, folders: Folders, pipeline: Pipeline) -> Root:
    """Where a run keeps its artifacts: as the request says, else the pipeline, else in this backend's own folder."""
    asked = request.pipeline_root or pipeline.spec.default_pipeline_root
    return root_of(asked, data_dir=folders.data_dir).joined(pipeline.name, request.run_id)


def write_notes(log_path: Path, notes: Iterable[str]) -> None:
    """Lines of ours in the log of a task, made if need be."""
    log_path.parent.mkdir(parents=True, exist_ok=True)
    with log_path.open("a") as log:
        log.writelines(f"[control plane] {note}\n" for note in notes)
