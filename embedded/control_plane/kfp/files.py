"""Routes of what the tasks of a run left behind: logs and artifacts. All but two are ours, not KFP's."""

import base64
import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlencode

from fastapi import APIRouter
from fastapi.responses import FileResponse, PlainTextResponse
from starlette.responses import Response

from embedded.control_plane.engine.attempt import Folders
from embedded.control_plane.engine.records import TaskRecord
from embedded.control_plane.engine.values import Artifact
from embedded.control_plane.errors import DataRejected, NotFound
from embedded.control_plane.kfp.errors import KFP_PREFIX
from embedded.control_plane.kfp.store import Document, Store

_MAX_LOG_BYTES = 4 * 1024 * 1024
"""Of one log the last part is shown; the file itself has more."""
_MAX_READ_BYTES = 64 * 1024 * 1024
"""KFP's own route packs the bytes into JSON."""
_MAX_FILES = 10_000
_HARMLESS = {"content-security-policy": "sandbox", "x-content-type-options": "nosniff"}
"""A page that a pipeline made must not use the API in the name of who looks at it."""


def files_router(store: Store, folders: Folders) -> APIRouter:
    router = APIRouter(tags=["logs and artifacts"])
    _add_log_routes(router, store, folders)
    _add_artifact_routes(router, store, folders)
    return router


def _add_log_routes(router: APIRouter, store: Store, folders: Folders) -> None:
    @router.get("/runs/{run_id}/tasks/{task_id:path}/log", response_class=PlainTextResponse)
    def get_task_log(run_id: str, task_id: str) -> str:
        """The logs of all attempts of a task, oldest first."""
        return _log_of(store, folders, run_id, task_id)

    @router.get("/runs/{run_id}/nodes/{node_id:path}/log", response_class=PlainTextResponse)
    def get_node_log(run_id: str, node_id: str) -> str:
        """As KFP calls it, since 2.17."""
        return _log_of(store, folders, run_id, node_id)


def _add_artifact_routes(router: APIRouter, store: Store, folders: Folders) -> None:
    @router.get("/runs/{run_id}/artifacts")
    def list_artifacts(run_id: str) -> Document:
        """Every artifact that the run's tasks made, with its place and the address of its bytes."""
        store.get("run", run_id)
        records = store.records_of(run_id).values()
        return {"artifacts": [shown for record in records if record.kind.is_leaf for shown in _shown(run_id, record)]}

    @router.get("/runs/{run_id}/artifacts/content", response_model=None)
    def get_artifact(run_id: str, task_id: str, output: str, index: int = 0, file: str = "") -> FileResponse | Document:
        """The bytes of an artifact. Of a folder: the files in it, each to be had with `file=`."""
        path = _path_of(store, folders, run_id, task_id, output, index=index, file=file)
        if path.is_dir():
            return {"files": list(_files_in(path))}
        return FileResponse(path, headers=_HARMLESS)

    @router.get("/runs/{run_id}/nodes/{node_id:path}/artifacts/{name}:read")
    def read_artifact(run_id: str, node_id: str, name: str) -> Document:
        """KFP's route: the bytes in base64."""
        path = _path_of(store, folders, run_id, node_id, name, index=0, file="")
        if not path.is_file() or path.stat().st_size > _MAX_READ_BYTES:
            raise DataRejected(
                f"Artifact {name!r} is a folder, or has over {_MAX_READ_BYTES} bytes. "
                f"Take it from {_url_of(run_id, node_id, name, 0)}."
            )
        return {"data": base64.b64encode(path.read_bytes()).decode()}

    @router.head("/runs/{run_id}/artifacts/content", include_in_schema=False)
    def head_artifact(run_id: str, task_id: str, output: str, index: int = 0, file: str = "") -> Response:
        path = _path_of(store, folders, run_id, task_id, output, index=index, file=file)
        return FileResponse(path, headers=_HARMLESS) if path.is_file() else Response()


def _shown(run_id: str, record: TaskRecord) -> Iterator[Document]:
    for output, artifacts in record.outputs.artifacts.items():
        for index, artifact in enumerate(artifacts):
            yield {
                "task_id": record.path,
                "output": output,
                "index": index,
                "path": artifact.uri,
                "url": _url_of(run_id, record.path, output, index),
                **artifact.model_dump(),
            }


def _url_of(run_id: str, task_id: str, output: str, index: int) -> str:
    query = urlencode({"task_id": task_id, "output": output, "index": index})
    return f"{KFP_PREFIX}/runs/{run_id}/artifacts/content?{query}"


def _path_of(store: Store, folders: Folders, run_id: str, task_id: str, output: str, *, index: int, file: str) -> Path:
    """Where the bytes are. Only what lies in the folder of the artifacts is given out, wherever a link leads."""
    artifacts = _record_of(store, run_id, task_id).outputs.artifacts.get(output, ())
    if not 0 <= index < len(artifacts):
        raise NotFound(f"Task {task_id!r} has no artifact {output!r} with index {index}. List the run's artifacts.")
    path = _local_path(artifacts[index], folders) / file
    if not path.resolve().is_relative_to(folders.artifacts_dir.resolve()):
        raise NotFound(f"{file or artifacts[index].uri!r} is outside the artifacts folder and is not served.")
    if not path.exists():
        removed = store.get("run", run_id).get("_files_removed")
        why = f"was removed, because {removed['reason']}" if removed else "is no longer on this machine"
        raise NotFound(f"Artifact {output!r} of task {task_id!r} {why}. Run the pipeline again.")
    return path


def _local_path(artifact: Artifact, folders: Folders) -> Path:
    uri = artifact.uri.removeprefix("file://")
    if "://" in uri:
        raise NotFound(f"This artifact is kept at {uri}, not here. Take it from there.")
    return folders.artifacts_dir / uri


def _files_in(folder: Path) -> Iterator[Document]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    for path in files[:_MAX_FILES]:
        yield {"file": str(path.relative_to(folder)), "size_bytes": path.stat().st_size}


def _log_of(store: Store, folders: Folders, run_id: str, task_id: str) -> str:
    record = _record_of(store, run_id, task_id)
    logs = sorted(folders.logs_of(run_id, record.path).glob("attempt-*.log"), key=_attempt_of)
    removed = store.get("run", run_id).get("_files_removed")
    if not logs and removed:
        return f"[control plane] the logs of this run were removed at {removed['at']}: {removed['reason']}.\n"
    texts = [_tail_of(path) for path in logs]
    if len(texts) == 1:
        return texts[0]
    return "".join(f"--- attempt {_attempt_of(path)}\n{text}" for path, text in zip(logs, texts, strict=True))


def _record_of(store: Store, run_id: str, task_id: str) -> TaskRecord:
    record = store.records_of(run_id).get(task_id)
    if record is None:
        raise NotFound(f"Run {run_id!r} has no task {task_id!r}. Its task_details name them.")
    return record


def _attempt_of(path: Path) -> int:
    return int(re.sub(r"\D", "", path.stem))


def _tail_of(path: Path) -> str:
    with path.open("rb") as log:
        log.seek(max(0, path.stat().st_size - _MAX_LOG_BYTES))
        return log.read().decode(errors="replace")
