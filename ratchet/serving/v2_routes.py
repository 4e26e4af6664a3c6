"""`/v2/models/{name}/infer` in front of KServe's own route: the same answers, and a malformed request is a 400."""

import orjson
from fastapi import APIRouter, HTTPException, Request, Response
from kserve.errors import InvalidInput, ModelNotReady
from kserve.protocol.dataplane import DataPlane

from ratchet.core.errors import DataRejected
from ratchet.serving.model import ServedModel

HEADER_LENGTH = "inference-header-content-length"


def v2_router(dataplane: DataPlane, model: ServedModel) -> APIRouter:
    """Routes that have to be added before KServe's: the first that matches answers."""
    router = APIRouter(prefix="/v2/models/{model_name}")

    @router.post("/infer", response_model=None)
    async def infer(model_name: str, request: Request) -> Response:
        if not await dataplane.model_ready(model_name, True):
            raise ModelNotReady(model_name)
        headers = dict(request.headers)
        body = await request.body()
        try:
            parsed = await model.read_v2(body, header_length=headers.get(HEADER_LENGTH), model=model_name)
        except DataRejected as error:
            raise InvalidInput(f"{model_name}: {error}") from None
        answer, _ = await dataplane.infer(model_name=model_name, request=parsed, headers=headers)
        encoded, json_length = answer.to_rest()
        if json_length is None:  # no model of pydantic: our own answer needs no check
            return Response(orjson.dumps(encoded), media_type="application/json")
        content_type = "application/octet-stream"
        return Response(encoded, headers={HEADER_LENGTH: str(json_length)}, media_type=content_type)

    @router.api_route("/versions/{version}", methods=["GET"])
    @router.api_route("/versions/{version}/ready", methods=["GET"])
    @router.api_route("/versions/{version}/infer", methods=["POST"])
    async def has_no_versions(model_name: str, version: str) -> None:
        raise HTTPException(404, f"{model_name}: one version serves at a time; leave /versions/{version[:80]} out.")

    return router
