"""Routes of V2 in front of KServe's own. `/infer` of the served model is answered before any route: `direct`."""

from typing import Any

from fastapi import APIRouter, HTTPException
from kserve.errors import ModelNotFound
from kserve.protocol.dataplane import DataPlane


def v2_router(dataplane: DataPlane) -> APIRouter:
    """Routes that have to be added before KServe's: the first that matches answers."""
    router = APIRouter(prefix="/v2")

    @router.get("/models/{model_name}")
    async def metadata(model_name: str) -> dict[str, Any]:
        """KServe's own adds `"versions": null`, which the protocol does not know: they are a list or not there."""
        return dict(await dataplane.model_metadata(model_name))

    @router.post("/models/{model_name}/infer")
    async def has_no_such_model(model_name: str) -> None:
        """KServe's route reads the body first: 422 for what it cannot read, whatever the model's name."""
        raise ModelNotFound(model_name)

    @router.api_route("/models/{model_name}/versions/{version}", methods=["GET"])
    @router.api_route("/models/{model_name}/versions/{version}/ready", methods=["GET"])
    @router.api_route("/models/{model_name}/versions/{version}/infer", methods=["POST"])
    async def has_no_versions(model_name: str, version: str) -> None:
        raise HTTPException(404, f"{model_name}: one version serves at a time; leave /versions/{version[:80]} out.")

    @router.post("/repository/{path:path}")
    async def has_no_repository(path: str) -> None:
        """KServe's own unloads the model for whoever asks."""
        raise HTTPException(404, "This server has one model, which its clients can neither load nor unload.")

    return router
