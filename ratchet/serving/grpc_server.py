"""The protocol over gRPC, beside HTTP in the same event loop: the same model, reader, limits and queue."""

import logging
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
from grpc.aio import ServicerContext

from ratchet.core.errors import DataRejected
from ratchet.serving.answer_headers import DIGEST_HEADER, REQUEST_ID_HEADER, request_id_of
from ratchet.serving.grpc_messages import document_of, message_of
from ratchet.serving.grpc_protocol import METHODS, SERVICE, message_class
from ratchet.serving.http_app import SERVER_METADATA
from ratchet.serving.model import ServedModel
from ratchet.serving.overload import Overloaded, RequestsUnderWay
from ratchet.serving.protocol_errors import InvalidInput, ModelNotFound, ModelNotReady
from wire.request_limits import RequestLimits

log = logging.getLogger(__name__)
_CODES: tuple[tuple[type[Exception], grpc.StatusCode], ...] = (
    (InvalidInput, grpc.StatusCode.INVALID_ARGUMENT),
    (ModelNotFound, grpc.StatusCode.NOT_FOUND),
    (ModelNotReady, grpc.StatusCode.UNAVAILABLE),
    (Overloaded, grpc.StatusCode.RESOURCE_EXHAUSTED),
)
"""Any other exception is INTERNAL: the fault is ours or the model's."""
_DETAILS_LENGTH = 1000
"""They travel as a header, and gRPC's clients take 8 KiB of headers, percent-encoded."""
_IDLE_MS = 300_000
"""A client that asks again connects again; 4,096 that have gone silent would keep others out."""


class InferenceService:
    """The methods of the protocol, by their names in `METHODS`."""

    def __init__(self, model: ServedModel, under_way: RequestsUnderWay, *, digest: str) -> None:
        self._model = model
        self._under_way = under_way
        self._digest = digest

    def handlers(self) -> dict[str, Any]:
        """For `grpc.aio.Server.add_registered_method_handlers`."""
        answers = (
            self._server_live,
            self._server_ready,
            self._model_ready,
            self._server_metadata,
            self._model_metadata,
            self._model_infer,
        )
        return {name: _handler_of(name, answer) for name, answer in zip(METHODS, answers, strict=True)}

    async def _server_live(self, _: Any, __: ServicerContext) -> dict[str, Any]:
        return {"live": not self._model.standstill}

    async def _server_ready(self, _: Any, __: ServicerContext) -> dict[str, Any]:
        return {"ready": self._model.is_ready}

    async def _model_ready(self, request: Any, _: ServicerContext) -> dict[str, Any]:
        self._check_name(request.name, request.version)
        return {"ready": self._model.is_ready}

    async def _server_metadata(self, _: Any, __: ServicerContext) -> dict[str, Any]:
        return SERVER_METADATA

    async def _model_metadata(self, request: Any, _: ServicerContext) -> dict[str, Any]:
        self._check_name(request.name, request.version)
        return self._model.metadata

    async def _model_infer(self, request: Any, context: ServicerContext) -> Any:
        headers = {str(key): str(value) for key, value in context.invocation_metadata() or ()}
        request_id = request_id_of(headers)
        await context.send_initial_metadata(((DIGEST_HEADER, self._digest), (REQUEST_ID_HEADER, request_id)))
        self._check_name(request.model_name, request.model_version)
        if not self._model.is_ready:
            raise ModelNotReady(self._model.name)
        began_at = time.monotonic()
        self._under_way.begin()
        try:
            return await self._infer(request, request_id)
        finally:
            self._under_way.end(began_at=began_at, now=time.monotonic())

    async def _infer(self, request: Any, request_id: str) -> Any:
        try:
            document, binary = document_of(request)
        except DataRejected as error:
            raise InvalidInput(f"{self._model.name}: {error}") from None
        parsed = await self._model.read_document(document, memoryview(binary))
        answer = await self._model.answer_v2(parsed, request_id=request_id)
        is_raw = bool(request.raw_input_contents) or any(each.is_binary for each in parsed.outputs)
        return message_of(answer, is_raw=is_raw)

    def _check_name(self, name: str, version: str) -> None:
        if name != self._model.name:
            raise ModelNotFound(name[:80])
        if version:
            raise ModelNotFound(f"{name}, version {version[:80]}")


def _handler_of(name: str, answer: Callable[[Any, ServicerContext], Awaitable[Any]]) -> Any:
    request_class, response_class = message_class(f"{name}Request"), message_class(f"{name}Response")

    async def told(request: Any, context: ServicerContext) -> Any:
        """The answer; an error ends the call with a status of gRPC."""
        try:
            found = await answer(request, context)
            return response_class(**found) if isinstance(found, dict) else found
        except Exception as error:
            await _abort(context, error)
            raise

    return grpc.unary_unary_rpc_method_handler(
        told, request_deserializer=request_class.FromString, response_serializer=response_class.SerializeToString
    )


async def _abort(context: ServicerContext, error: Exception) -> None:
    code = next((code for kinds, code in _CODES if isinstance(error, kinds)), grpc.StatusCode.INTERNAL)
    if code is grpc.StatusCode.INTERNAL:
        log.error("%s: %s", type(error).__name__, error)
    later = (("retry-after", str(error.retry_after_s)),) if isinstance(error, Overloaded) else ()
    await context.abort(code, str(error)[:_DETAILS_LENGTH], later)


async def start_grpc(service: InferenceService, *, host: str, port: int, limits: RequestLimits) -> Any:
    """The server, which answers. It ends the process when the port is taken, as uvicorn does."""
    server = grpc.aio.server(
        maximum_concurrent_rpcs=limits.connections_max,
        options=[
            ("grpc.max_receive_message_length", limits.body_bytes_max),
            ("grpc.max_send_message_length", limits.body_bytes_max),
            ("grpc.max_connection_idle_ms", _IDLE_MS),
            ("grpc.so_reuseport", 0),  # else two servers share a port without a word
        ],
    )
    server.add_registered_method_handlers(SERVICE, service.handlers())
    try:
        server.add_insecure_port(f"{host}:{port}")
    except RuntimeError as error:
        log.error("gRPC cannot listen on %s:%d: %s. Choose another --grpc_port.", host, port, error)
        sys.exit(1)
    await server.start()
    return server
