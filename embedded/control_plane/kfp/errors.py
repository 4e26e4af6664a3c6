"""Errors as the KFP API shows them: an HTTP status, and `{"code", "message", "details"}` with a google.rpc code."""

import sqlite3

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from embedded.control_plane.errors import Conflict, ControlPlaneError, DataRejected, NotFound
from embedded.control_plane.kubernetes.errors import ApiError
from embedded.control_plane.kubernetes.routes import answer_of, is_kubernetes
from wire.printable import printable_lines

KFP_PREFIX = "/apis/v2beta1"
_STATUS_AND_CODE: tuple[tuple[type[ControlPlaneError], int, int], ...] = (
    (NotFound, 404, 5),
    (Conflict, 409, 6),
    (DataRejected, 400, 3),
)
_CODE_OF_STATUS = {400: 3, 404: 5, 405: 12, 409: 6, 413: 3}
"""HTTP to gRPC, as the real backend's gateway answers; 13 (internal) for all others."""


def answer_errors(app: FastAPI) -> None:
    """Install the error answers of the KFP routes; others keep their own."""

    @app.exception_handler(ControlPlaneError)
    async def on_ours(request: Request, error: ControlPlaneError) -> JSONResponse:
        for kind, status, code in _STATUS_AND_CODE:
            if isinstance(error, kind):
                return error_answer(status, code, str(error))
        return error_answer(500, 13, str(error))

    @app.exception_handler(sqlite3.OperationalError)
    async def on_store(request: Request, error: sqlite3.OperationalError) -> JSONResponse:
        """UNAVAILABLE: clients may try again. Nothing was kept."""
        return error_answer(
            503, 14, f"the database cannot be written: {error}. The disk may be full: `ratchet status` shows it."
        )

    @app.exception_handler(RequestValidationError)
    async def on_invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        return error_answer(400, 3, f"{where}: {first['msg']}")

    @app.exception_handler(HTTPException)
    async def on_http(request: Request, error: HTTPException) -> Response:
        text = str(error.detail)
        if is_kubernetes(request.url.path):
            return answer_of(ApiError(error.status_code, text.replace(" ", ""), text))
        return error_answer(error.status_code, _CODE_OF_STATUS.get(error.status_code, 13), text)

    @app.exception_handler(Exception)
    async def on_unexpected(request: Request, error: Exception) -> JSONResponse:
        text = f"{type(error).__name__}: {error}. `ratchet logs control_plane` shows more."
        return error_answer(500, 13, text)


def error_answer(status: int, code: int, message: str) -> JSONResponse:
    """What the message quotes of a request may be long, or hold what no answer can."""
    return JSONResponse({"code": code, "message": printable_lines(message), "details": []}, status)
