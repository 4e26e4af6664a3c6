"""The protocol over gRPC, beside HTTP in the same event loop: the same model, reader, limits and queue."""

import logging
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import grpc
from grpc.aio import ServicerContext
from kserve.errors import InvalidInput, ModelNotFound, ModelNotReady
from kserve.protocol.dataplane import DataPlane
from kserve.protocol.grpc import grpc_predict_v2_pb2 as pb
from kserve.protocol.grpc.grpc_predict_v2_pb2_grpc import (
    GRPCInferenceServiceServicer,
    add_GRPCInferenceServiceServicer_to_server,
)

from ratchet.core.errors import DataRejected
from ratchet.serving.grpc_messages import document_of, message_of
from ratchet.serving.model import ServedModel
from ratchet.serving.overload import Overloaded, RequestsUnderWay
from wire.request_limits import RequestLimits

_Answer = TypeVar("_Answer")
log = logging.getLogger(__name__)
_CODES: tuple[tuple[type[Exception] | tuple[type[Exception], ...], grpc.StatusCode], ...] = (
    ((InvalidInput, DataRejected), grpc.StatusCode.INVALID_ARGUMENT),
    (ModelNotFound, grpc.StatusCode.NOT_FOUND),
    (ModelNotReady, grpc.StatusCode.UNAVAILABLE),
    (Overloaded, grpc.StatusCode.RESOURCE_EXHAUSTED),
)
"""Any other exception is INTERNAL: the fault is ours or the model's."""
_DETAILS_LENGTH = 1000
"""They travel as a header, and gRPC's clients take 8 KiB of headers, percent-encoded."""
_IDLE_MS = 300_000
"""A client that asks again connects again; 4,096 that have gone silent would keep others out."""


class InferenceService(GRPCInferenceServiceServicer):
    """Names of methods and messages are the protocol's."""

    def __init__(
        self,
        model: ServedModel,
        dataplane: DataPlane,
        under_way: RequestsUnderWay,
        *,
        headers_of: Callable[[dict[str, str]], dict[str, str]],
    ) -> None:
        self._model = model
        self._dataplane = dataplane
        self._under_way = under_way
        self._headers_of = headers_of

    async def ServerLive(self, request: pb.ServerLiveRequest, context: ServicerContext) -> pb.ServerLiveResponse:
        return pb.ServerLiveResponse(live=(await self._dataplane.live())["status"] == "alive")

    async def ServerReady(self, request: pb.ServerReadyRequest, context: ServicerContext) -> pb.ServerReadyResponse:
        return pb.ServerReadyResponse(ready=await self._dataplane.ready())

    async def ModelReady(self, request: pb.ModelReadyRequest, context: ServicerContext) -> pb.ModelReadyResponse:
        return await _told(context, self._model_ready(request))

    async def ServerMetadata(
        self, request: pb.ServerMetadataRequest, context: ServicerContext
    ) -> pb.ServerMetadataResponse:
        return pb.ServerMetadataResponse(**self._dataplane.metadata())

    async def ModelMetadata(
        self, request: pb.ModelMetadataRequest, context: ServicerContext
    ) -> pb.ModelMetadataResponse:
        return await _told(context, self._model_metadata(request))

    async def ModelInfer(self, request: pb.ModelInferRequest, context: ServicerContext) -> pb.ModelInferResponse:
        headers = self._headers_of({str(key): str(value) for key, value in context.invocation_metadata() or ()})
        await context.send_initial_metadata(tuple(headers.items()))
        return await _told(context, self._model_infer(request, headers))

    async def _model_ready(self, request: pb.ModelReadyRequest) -> pb.ModelReadyResponse:
        self._check_name(request.name, request.version)
        return pb.ModelReadyResponse(ready=await self._dataplane.model_ready(request.name))

    async def _model_metadata(self, request: pb.ModelMetadataRequest) -> pb.ModelMetadataResponse:
        self._check_name(request.name, request.version)
        return pb.ModelMetadataResponse(**await self._dataplane.model_metadata(request.name))

    async def _model_infer(self, request: pb.ModelInferRequest, headers: dict[str, str]) -> pb.ModelInferResponse:
        self._check_name(request.model_name, request.model_version)
        began_at = time.monotonic()
        self._under_way.begin()
        try:
            return await self._infer(request, headers)
        finally:
            self._under_way.end(began_at=began_at, now=time.monotonic())

    async def _infer(self, request: pb.ModelInferRequest, headers: dict[str, str]) -> pb.ModelInferResponse:
        name = self._model.name
        if not await self._dataplane.model_ready(name, True):
            raise ModelNotReady(name)
        try:
            document, binary = document_of(request)
            parsed = await self._model.read_document(document, memoryview(binary))
        except DataRejected as error:
            raise InvalidInput(f"{name}: {error}") from None
        answer, _ = await self._dataplane.infer(name, parsed, headers=headers)
        is_raw = bool(request.raw_input_contents) or any(each.binary_data for each in parsed.request_outputs)
        return message_of(answer, parsed.request_outputs, is_raw=is_raw)

    def _check_name(self, name: str, version: str) -> None:
        if name != self._model.name:
            raise ModelNotFound(name[:80])
        if version:
            raise ModelNotFound(f"{name}, version {version[:80]}")


async def _told(context: ServicerContext, answering: Awaitable[_Answer]) -> _Answer:
    """The answer; an error ends the call with a status of gRPC."""
    try:
        return await answering
    except Exception as error:
        code = next((code for kinds, code in _CODES if isinstance(error, kinds)), grpc.StatusCode.INTERNAL)
        if code is grpc.StatusCode.INTERNAL:
            log.error("%s: %s", type(error).__name__, error)
        later = (("retry-after", str(error.retry_after_s)),) if isinstance(error, Overloaded) else ()
        await context.abort(code, str(error)[:_DETAILS_LENGTH], later)
        raise


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
    add_GRPCInferenceServiceServicer_to_server(service, server)
    try:
        server.add_insecure_port(f"{host}:{port}")
    except RuntimeError as error:
        log.error("gRPC cannot listen on %s:%d: %s. Choose another --grpc_port.", host, port, error)
        sys.exit(1)
    await server.start()
    return server
