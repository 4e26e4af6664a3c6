"""A run that is not over, as the engine holds it in memory."""

from dataclasses import dataclass, field

from embedded.control_plane.engine.cache import fingerprint_of
from embedded.control_plane.engine.kubernetes_names import resolve_names
from embedded.control_plane.engine.kubernetes_spec import KubernetesExecutor, Pipeline
from embedded.control_plane.engine.records import RunRequest, TaskRecord, child_path, parent_path
from embedded.control_plane.engine.roots import Root
from embedded.control_plane.engine.spec import Component, Task
from embedded.control_plane.engine.task_process import TaskProcess
from embedded.control_plane.engine.task_queue import Place
from embedded.control_plane.engine.walk import Walk
from embedded.control_plane.engine.workspace import needs_workspace, workspace_claim
from embedded.control_plane.errors import DataRejected


@dataclass
class LiveRun:
    """Only the deciding thread touches it."""

    request: RunRequest
    pipeline: Pipeline
    job: dict[str, str]
    root: Root
    records: dict[str, TaskRecord] = field(default_factory=dict)
    is_lenient: bool = False
    is_own_image: bool = False
    """A container engine runs the images of its tasks."""
    processes: dict[str, tuple[TaskProcess, Place]] = field(default_factory=dict)

    @property
    def run_id(self) -> str:
        return self.request.run_id

    def walk(self) -> Walk:
        return Walk(
            self.pipeline.spec,
            self.records,
            self.job,
            is_canceling=self.request.is_canceling,
            is_lenient=self.is_lenient,
        )

    def task_of(self, path: str) -> tuple[Task, Component]:
        task = self.walk().task_at(path)
        return task, self.pipeline.spec.component_of(task)

    def kubernetes_of(self, record: TaskRecord) -> KubernetesExecutor:
        """What the pipeline says of Kubernetes for a task. DataRejected when a name in it has no value."""
        _, component = self.task_of(record.path)
        parent = parent_path(record.path)
        return resolve_names(
            self.pipeline.kubernetes_of(component.executor_label or ""),
            group=self.records[parent].inputs,
            sibling=lambda name: self._sibling(parent, name),
        )

    def _sibling(self, parent: str, name: str) -> TaskRecord:
        record = self.records.get(child_path(parent, name))
        if record is None:
            raise DataRejected(f"task {name!r} has not run, and its output is needed. Wait for it with .after(...).")
        return record

    def fingerprint_of(self, record: TaskRecord) -> str | None:
        """What the task's outputs are remembered by; None when they are not to be. DataRejected as `kubernetes_of`."""
        task, component = self.task_of(record.path)
        container = self.pipeline.spec.executor_of(component).container
        if not task.caching_options.enable_cache or container is None:
            return None
        claims = [mount.constant for mount in self.kubernetes_of(record).pvc_mount]
        if self.pipeline.has_workspace and needs_workspace(record.inputs):
            claims.append(workspace_claim(self.job["pipeline_job_resource_name"]))
        return fingerprint_of(task, component, container, record.inputs, claims=claims, is_own_image=self.is_own_image)
