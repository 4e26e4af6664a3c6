"""Routes of V2 in front of KServe's own. `/infer` of the served model is answered before any route: `direct`."""

from fastapi import APIRouter, HTTPException
from kserve.errors import ModelNotFound


def v2_router() -> APIRouter:
    """Routes that have to be added before KServe's: the first that matches answers."""
    router = APIRouter(prefix="/v2/models/{model_name}")

    @router.post("/infer")
    async def has_no_such_model(model_name: str) -> None:
        """KServe's route reads the body first: 422 for what it cannot read, whatever the model's name."""
        raise ModelNotFound(model_name)

    @router.api_route("/versions/{version}", methods=["GET"])
    @router.api_route("/versions/{version}/ready", methods=["GET"])
    @router.api_route("/versions/{version}/infer", methods=["POST"])
    async def has_no_versions(model_name: str, version: str) -> None:
        raise HTTPException(404, f"{model_name}: one version serves at a time; leave /versions/{version[:80]} out.")

    return router
