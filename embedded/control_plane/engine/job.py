"""What a task may ask of its run: the values of the placeholders `{{$.pipeline_…}}`.

Source: kubeflow/pipelines, backend/src/v2/driver/resolve.go, resolveInputParameter.
"""

import hashlib
from collections.abc import Mapping

from embedded.control_plane.engine.records import RunRequest, parent_path
from embedded.control_plane.engine.roots import Root
from embedded.control_plane.engine.workspace import WORKSPACE_PATH

_SUFFIX_LETTERS = "bcdfghjklmnpqrstvwxz2456789"
_NUM_SUFFIX = 5
_NAME_LENGTH = 63
"""All three as Kubernetes' generateName has them (apiserver, pkg/storage/names)."""


def job_of(request: RunRequest, root: Root, *, pipeline_name: str) -> dict[str, str]:
    """Values of the placeholders that are the same for all tasks of a run."""
    return {
        "pipeline_job_name": request.display_name,
        "pipeline_job_resource_name": workflow_name_of(pipeline_name, run_id=request.run_id),
        "pipeline_job_uuid": request.run_id,
        "pipeline_root": str(root),
        "workspace_path": WORKSPACE_PATH,
        "pipeline_job_create_time_utc": f"{request.created_at:%Y-%m-%dT%H:%M:%SZ}",
        "pipeline_job_schedule_time_utc": f"{request.scheduled_at:%Y-%m-%dT%H:%M:%SZ}",
    }


def task_job_of(job: Mapping[str, str], path: str, name: str) -> dict[str, str]:
    """Values of the placeholders that concern one task.

    A task's "uuid" is the number of the group that it is in (opts.DAGExecutionID): digits, the same for all tasks of a
    group, another in each run.
    """
    digest = hashlib.sha256(f"{job.get('pipeline_job_uuid', '')}/{parent_path(path)}".encode()).digest()
    return {"pipeline_task_name": name, "pipeline_task_uuid": str(1 + int.from_bytes(digest[:4], "big"))}


def workflow_name_of(pipeline_name: str, *, run_id: str) -> str:
    """`<pipeline>-<suffix>`, the name of the Workflow (argocompiler/argo.go, Compile). A run keeps its name."""
    base = f"{pipeline_name.rpartition('/')[2]}-"[: _NAME_LENGTH - _NUM_SUFFIX]
    digest = hashlib.sha256(run_id.encode()).digest()
    return base + "".join(_SUFFIX_LETTERS[byte % len(_SUFFIX_LETTERS)] for byte in digest[:_NUM_SUFFIX])
