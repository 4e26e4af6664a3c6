"""Routes of V1 in front of KServe's own: what this server does not have is the caller's error (404), never a 5xx.

A 5xx counts against the model that answers: KServe's 501 on `:explain` would let a client fail any revision at will.
"""

from fastapi import APIRouter, HTTPException


def v1_router() -> APIRouter:
    """Routes that have to be added before KServe's: the first that matches answers."""
    router = APIRouter(prefix="/v1/models")

    @router.post("/{model_name}:explain")
    async def has_no_explainer(model_name: str) -> None:
        raise HTTPException(404, f"{model_name[:80]}: this model has no explainer; ask :predict instead.")

    return router
