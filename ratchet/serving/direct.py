"""The two routes that users ask all day, without a web framework in between: it takes most of a small model's request.

All else goes on to KServe's application: another path or model, and V1 that is no plain JSON (a CloudEvent, say).
"""

import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import orjson
from kserve.errors import (
    InferenceError,
    InvalidInput,
    ModelNotReady,
    generic_exception_handler,
    inference_error_handler,
    invalid_input_handler,
    model_not_ready_handler,
)
from kserve.protocol.dataplane import DataPlane
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from ratchet.core.errors import DataRejected
from ratchet.serving.model import ServedModel
from ratchet.serving.overload import Overloaded, RequestsUnderWay
from ratchet.serving.rendering import infer_body
from ratchet.serving.request_body import read_body, receive_again

HEADER_LENGTH = "inference-header-content-length"
_JSON, _BINARY = b"application/json", b"application/octet-stream"
_ERRORS: Mapping[type[Exception], Callable[[Any, Any], Awaitable[Response]]] = {
    InvalidInput: invalid_input_handler,
    InferenceError: inference_error_handler,
    ModelNotReady: model_not_ready_handler,
}
"""KServe's own words for its own errors."""

Headers = dict[str, str]
Answer = tuple[bytes, list[tuple[bytes, bytes]]]
"""A body, and its headers but for its length."""


class DirectAnswers:
    """ASGI middleware: `:predict` (V1) and `/infer` (V2) of one model; the application behind has the rest."""

    def __init__(
        self, app: ASGIApp, dataplane: DataPlane, model: ServedModel, *, under_way: RequestsUnderWay | None = None
    ) -> None:
        self._app = app
        self._dataplane = dataplane
        self._model = model
        self._under_way = under_way or RequestsUnderWay()
        self._v1_path, self._v2_path = f"/v1/models/{model.name}:predict", f"/v2/models/{model.name}/infer"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "POST" or scope["path"] not in (self._v1_path, self._v2_path):
            await self._app(scope, receive, send)
            return
        body = await read_body(receive)  # a client that trickles its body keeps nobody waiting
        if body is None:
            return
        began_at = time.monotonic()
        try:
            self._under_way.begin()
        except Overloaded as error:
            await _overloaded(error)(scope, receive, send)
            return
        try:
            await self._serve(body, scope, receive, send)
        finally:
            self._under_way.end(began_at=began_at, now=time.monotonic())

    async def _serve(self, body: bytes, scope: Scope, receive: Receive, send: Send) -> None:
        is_v1 = scope["path"] == self._v1_path
        # Of a header that comes twice the first counts, as in Starlette.
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in reversed(scope["headers"])}
        if is_v1 and not _is_plain_json(headers):
            await self._app(scope, receive_again(body, receive), send)
            return
        try:
            await self._check_ready()
            content, fields = await (self._answer_v1 if is_v1 else self._answer_v2)(body, headers)
        except Exception as error:
            response = await _ERRORS.get(type(error), generic_exception_handler)(None, error)
            await response(scope, receive, send)
            return
        fields.append((b"content-length", str(len(content)).encode()))
        await send({"type": "http.response.start", "status": 200, "headers": fields})
        await send({"type": "http.response.body", "body": content})

    async def _answer_v1(self, body: bytes, headers: Headers) -> Answer:
        payload, _ = self._dataplane.decode(body, headers)
        answer, _ = await self._dataplane.infer(self._model.name, payload, headers=headers)
        return orjson.dumps(answer), [(b"content-type", _JSON)]

    async def _answer_v2(self, body: bytes, headers: Headers) -> Answer:
        name = self._model.name
        try:
            parsed = await self._model.read_v2(body, header_length=headers.get(HEADER_LENGTH), model=name)
        except DataRejected as error:
            raise InvalidInput(f"{name}: {error}") from None
        answer, _ = await self._dataplane.infer(name, parsed, headers=headers)
        content, json_length = infer_body(answer, parsed.request_outputs)
        if json_length == len(content):
            return content, [(b"content-type", _JSON)]
        return content, [(b"content-type", _BINARY), (HEADER_LENGTH.encode(), str(json_length).encode())]

    async def _check_ready(self) -> None:
        if not await self._dataplane.model_ready(self._model.name, True):
            raise ModelNotReady(self._model.name)


def _overloaded(error: Overloaded) -> Response:
    return JSONResponse({"error": str(error)}, 429, headers={"retry-after": str(error.retry_after_s)})


def _is_plain_json(headers: Headers) -> bool:
    """The headers of a binary CloudEvent begin with `ce-`."""
    is_json = headers.get("content-type", "application/json") == "application/json"
    return is_json and not any(name.startswith("ce-") for name in headers)
