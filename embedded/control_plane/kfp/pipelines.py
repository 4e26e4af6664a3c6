"""Routes of pipelines and their versions."""

from typing import Any

from fastapi import APIRouter, File, UploadFile

from embedded.control_plane.engine.loading import MAX_BYTES, load_pipeline, parse_upload
from embedded.control_plane.errors import Conflict, DataRejected, NotFound
from embedded.control_plane.kfp.bodies import check_texts
from embedded.control_plane.kfp.listing import ListParameters, list_page
from embedded.control_plane.kfp.store import Document, Store
from embedded.control_plane.kfp.wire import name_in, new_id, now_text, show
from embedded.control_plane.sound_json import read_json

_UPLOAD = File(...)


def pipelines_router(store: Store) -> APIRouter:
    """Uploads, pipelines, versions."""
    router = APIRouter(tags=["pipelines"])
    _add_upload_routes(router, store)
    _add_pipeline_routes(router, store)
    _add_version_routes(router, store)
    return router


def _add_upload_routes(router: APIRouter, store: Store) -> None:
    @router.post("/pipelines/upload")
    def upload_pipeline(
        uploadfile: UploadFile = _UPLOAD,
        name: str = "",
        display_name: str = "",
        description: str = "",
        namespace: str = "",
        tags: str = "",
    ) -> Document:
        name = name or display_name or uploadfile.filename or ""
        check_texts({"name": name, "display_name": display_name, "description": description, "namespace": namespace})
        wire = _read_upload(uploadfile)
        body: Document = {"name": name, "display_name": display_name or name, "description": description}
        body |= {"namespace": namespace or None, "tags": _parse_tags(tags)}
        with store.transaction():
            pipeline = _add_pipeline(store, body)
            _add_version(store, pipeline["pipeline_id"], {**body, "display_name": name, "namespace": None}, wire)
        return show(pipeline)

    @router.post("/pipelines/upload_version")
    def upload_version(
        pipelineid: str,
        uploadfile: UploadFile = _UPLOAD,
        name: str = "",
        display_name: str = "",
        description: str = "",
    ) -> Document:
        name = name or display_name or uploadfile.filename or ""
        check_texts({"name": name, "display_name": display_name, "description": description})
        wire = _read_upload(uploadfile)
        body = {"name": name, "display_name": display_name or name, "description": description}
        with store.transaction():
            return shown_version(store, _add_version(store, pipelineid, body, wire))


def _add_pipeline_routes(router: APIRouter, store: Store) -> None:
    @router.get("/pipelines")
    def list_pipelines(query: ListParameters) -> Document:
        pipelines, beside = list_page(store, "pipeline", query, show=show)
        return {"pipelines": pipelines, **beside}

    @router.get("/pipelines/names/{name}")
    def get_pipeline_by_name(name: str) -> Document:
        found = store.select("pipeline", where="name = ?", values=(name,))
        if not found:
            raise NotFound(f"There is no pipeline named {name!r}. Upload it first.")
        return show(found[0])

    @router.get("/pipelines/{pipeline_id}")
    def get_pipeline(pipeline_id: str) -> Document:
        return show(store.get("pipeline", pipeline_id))

    @router.delete("/pipelines/{pipeline_id}")
    def delete_pipeline(pipeline_id: str) -> Document:
        with store.transaction():
            store.remove("pipeline", pipeline_id)
            for version in _versions_of(store, pipeline_id):
                store.remove("pipeline_version", version["pipeline_version_id"])
        return {}


def _add_version_routes(router: APIRouter, store: Store) -> None:
    @router.get("/pipelines/{pipeline_id}/versions")
    def list_versions(pipeline_id: str, query: ListParameters) -> Document:
        store.get("pipeline", pipeline_id)
        versions, beside = list_page(
            store,
            "pipeline_version",
            query,
            show=lambda version: shown_version(store, version),
            only={"pipeline_id": pipeline_id},
        )
        return {"pipeline_versions": versions, **beside}

    @router.get("/pipelines/{pipeline_id}/versions/{version_id}")
    def get_version(pipeline_id: str, version_id: str) -> Document:
        return shown_version(store, _version_in(store, pipeline_id, version_id))

    @router.delete("/pipelines/{pipeline_id}/versions/{version_id}")
    def delete_version(pipeline_id: str, version_id: str) -> Document:
        with store.transaction():
            _version_in(store, pipeline_id, version_id)
            store.remove("pipeline_version", version_id)
        return {}


def find_version(store: Store, reference: Document) -> Document:
    """The version that a run names; the newest when it names only the pipeline."""
    pipeline_id = reference.get("pipeline_id") or ""
    version_id = reference.get("pipeline_version_id")
    if version_id:
        version = store.get("pipeline_version", version_id)
        if pipeline_id and version["pipeline_id"] != pipeline_id:
            raise DataRejected(f"Version {version_id} is not of pipeline {pipeline_id}.")
        return version
    store.get("pipeline", pipeline_id)
    versions = _versions_of(store, pipeline_id)
    if not versions:
        raise NotFound(f"Pipeline {pipeline_id} has no version. Upload one.")
    return versions[-1]


def shown_version(store: Store, version: Document) -> Document:
    return store.with_spec(show(version), version)


def _read_upload(uploadfile: UploadFile) -> dict[str, Any]:
    wire = parse_upload(uploadfile.file.read(MAX_BYTES + 1))
    load_pipeline(wire)
    return wire


def _add_pipeline(store: Store, body: Document) -> Document:
    name = name_in({"display_name": body["name"]}, what="A pipeline")
    if store.count("pipeline", where="name = ?", values=(name,)):
        raise Conflict(f"Already exist error: there is a pipeline named {name!r}. Upload a version of it instead.")
    pipeline_id = new_id()
    pipeline = {"pipeline_id": pipeline_id, "created_at": now_text(), **body}
    store.add("pipeline", pipeline_id, pipeline)
    return pipeline


def _add_version(store: Store, pipeline_id: str, body: Document, wire: dict[str, Any]) -> Document:
    store.get("pipeline", pipeline_id)
    name = name_in({"display_name": body["name"]}, what="A pipeline version")
    if any(version["name"] == name for version in _versions_of(store, pipeline_id)):
        raise Conflict(f"Already exist error: the pipeline has a version named {name!r}. Choose another name.")
    version_id = new_id()
    version = {
        "pipeline_id": pipeline_id,
        "pipeline_version_id": version_id,
        "created_at": now_text(),
        "_spec_digest": store.put_spec(wire),
        **body,
    }
    store.add("pipeline_version", version_id, version)
    return version


def _versions_of(store: Store, pipeline_id: str) -> list[Document]:
    where = "pipeline_id = ?"
    return store.select("pipeline_version", where=where, values=(pipeline_id,))


def _version_in(store: Store, pipeline_id: str, version_id: str) -> Document:
    version = store.get("pipeline_version", version_id)
    if version["pipeline_id"] != pipeline_id:
        raise NotFound(f"Pipeline {pipeline_id} has no version {version_id}.")
    return version


def _parse_tags(text: str) -> dict[str, str] | None:
    if not text:
        return None
    tags = read_json(text.encode(errors="surrogatepass"), what="tags")
    if not isinstance(tags, dict):
        raise DataRejected(f"tags must be a JSON object of texts, not {text[:80]!r}.")
    return {str(key): str(value) for key, value in tags.items()}
