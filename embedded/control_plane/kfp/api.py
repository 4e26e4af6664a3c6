"""The Kubeflow Pipelines v2beta1 API, as `kfp.Client` 2.16 and the `kfp` command speak it."""

from typing import Any

from fastapi import APIRouter

from embedded.control_plane.engine.attempt import Folders
from embedded.control_plane.engine.engine import Engine
from embedded.control_plane.kfp.errors import KFP_PREFIX
from embedded.control_plane.kfp.experiments import experiments_router
from embedded.control_plane.kfp.files import files_router
from embedded.control_plane.kfp.pipelines import pipelines_router
from embedded.control_plane.kfp.recurring import recurring_router
from embedded.control_plane.kfp.runs import runs_router
from embedded.control_plane.kfp.store import Store


def router_of(store: Store, engine: Engine, folders: Folders) -> APIRouter:
    """All routes under /apis/v2beta1."""
    router = APIRouter(prefix=KFP_PREFIX)

    @router.get("/healthz", tags=["health"])
    def healthz() -> dict[str, Any]:
        return {"multi_user": False, "pipeline_store": "database"}

    router.include_router(pipelines_router(store))
    router.include_router(experiments_router(store))
    router.include_router(runs_router(store, engine))
    router.include_router(files_router(store, folders))
    router.include_router(recurring_router(store))
    return router
