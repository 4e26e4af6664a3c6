"""The workspace of a run: one folder for all of its tasks, where a cluster mounts one volume. Pure.

Sources: kubeflow/pipelines, backend/src/v2/driver/driver.go (needsWorkspaceMount), driver/resolve.go
(resolveInputParameter, setWorkspaceFlag), driver/k8s.go (GetWorkspacePVCName), component/launcher_v2.go
(LocalWorkspacePathForURI).
"""

from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from embedded.control_plane.engine.mounts import Mount
from embedded.control_plane.engine.roots import bucket_and_key
from embedded.control_plane.engine.spec import PipelineSpec
from embedded.control_plane.engine.values import Artifact, Values
from embedded.control_plane.errors import DataRejected

WORKSPACE_PATH = "/kfp-workspace"
WORKSPACE_PLACEHOLDER = "{{$.workspace_path}}"
IN_WORKSPACE = "_kfp_workspace"
"""In the metadata of an artifact that an importer has put into the workspace."""
_SCHEME_FOLDERS = {"s3": "s3", "minio": "minio", "gs": "gcs"}


def workspace_mount(folder: Path) -> Mount:
    return Mount(WORKSPACE_PATH, folder, "the workspace of the run")


def needs_workspace(inputs: Values) -> bool:
    """Whether a cluster would mount it: a text among the inputs has its path, or an artifact lies in it."""
    texts = (value for value in inputs.parameters.values() if isinstance(value, str))
    if any(WORKSPACE_PATH in text or WORKSPACE_PLACEHOLDER in text for text in texts):
        return True
    return any(artifacts[0].metadata.get(IN_WORKSPACE) is True for artifacts in inputs.artifacts.values() if artifacts)


def workspace_claim(workflow: str) -> str:
    """The name of its claim: part of the cache's key, so no other run takes the results of a task that uses it."""
    return f"{workflow}-kfp-workspace"


def imported_path(artifact: Artifact, folder: Path) -> Path:
    """Where an importer puts a copy of an artifact in the workspace `folder`."""
    if "://" not in artifact.uri:
        return folder / ".artifacts" / "local" / artifact.uri.lstrip("/")
    bucket, key = bucket_and_key(artifact.uri)
    return folder / ".artifacts" / _SCHEME_FOLDERS[artifact.uri.partition("://")[0]] / bucket / PurePosixPath(key)


def check_workspace(spec: PipelineSpec, *, has_workspace: bool) -> None:
    """DataRejected when something needs a workspace, and the pipeline has none: on a cluster its pod waits for ever."""
    if has_workspace:
        return
    for user in _users_of(spec):
        raise DataRejected(
            f"{user} needs the workspace of the run, and the pipeline has none. Give @dsl.pipeline a "
            "pipeline_config=dsl.PipelineConfig(workspace=dsl.WorkspaceConfig(size=…))."
        )


def _users_of(spec: PipelineSpec) -> Iterator[str]:
    for component in (spec.root, *spec.components.values()):
        for name, task in component.dag.tasks.items() if component.dag else ():
            for source in task.inputs.parameters.values():
                text = source.runtime_value.constant if source.runtime_value else None
                if isinstance(text, str) and WORKSPACE_PLACEHOLDER in text:
                    yield f"task {name}"
    for name, executor in spec.deployment_spec.executors.items():
        if executor.importer and executor.importer.download_to_workspace:
            yield f"executor {name}"
