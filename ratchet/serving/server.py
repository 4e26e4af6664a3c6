"""KServe's ModelServer around one model: an interface of our choice, a quiet log, two headers on each answer."""

import logging
import uuid
from collections.abc import Callable, Mapping, MutableMapping
from importlib.metadata import version
from typing import Any

import uvloop
from kserve.errors import InvalidInput, ModelNotFound
from kserve.model_repository import ModelRepository
from kserve.model_server import ModelServer, app
from kserve.protocol.dataplane import DataPlane
from kserve.protocol.rest.server import RESTServer
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from ratchet.serving.compressed_bodies import CompressedBodies
from ratchet.serving.direct import DirectAnswers
from ratchet.serving.grpc_server import InferenceService, start_grpc
from ratchet.serving.model import ServedModel
from ratchet.serving.overload import RequestsUnderWay
from ratchet.serving.v1_routes import v1_router
from ratchet.serving.v2_routes import v2_router
from wire.request_limits import RequestLimits, limit_config
from wire.validation_text import printable

log = logging.getLogger(__name__)
DIGEST_HEADER = b"x-ratchet-model"
REQUEST_ID_HEADER = b"x-request-id"
_REQUEST_ID_BYTES_MAX = 256
# The control plane gives a model server 12 s from SIGTERM to SIGKILL (embedded/control_plane/kserve/replica.py).
_GRACE_S = 10
_GRPC_GRACE_S = 1.0
"""After those of HTTP have ended."""
_LIMITS = RequestLimits(connections_max=4096, body_bytes_max=64 * 1024 * 1024)
"""Envoy opens a connection for each request under way, 4,096 at most; through it a body has 4 MiB."""
_ERROR_LENGTH = 200
_PLATFORM = "pytorch"
_QUIET = ("kserve.trace", "uvicorn.access")
"""KServe writes two lines for each request; the gateway counts requests already."""


def serve(model: ServedModel, *, host: str, port: int, digest: str, grpc_port: int = 0) -> None:
    """Answer until SIGTERM, then finish what has begun. The model must be loaded. grpc_port: 0: HTTP alone."""
    under_way = RequestsUnderWay()
    rest = make_server(model, host=host, port=port, digest=digest, under_way=under_way)
    if not grpc_port:
        uvloop.run(rest.start())
        return
    service = InferenceService(
        model, rest.dataplane, under_way, headers_of=lambda asked: answer_headers(asked, digest=digest)
    )
    uvloop.run(_serve_both(rest, service, host=host, grpc_port=grpc_port))


async def _serve_both(rest: RESTServer, service: InferenceService, *, host: str, grpc_port: int) -> None:
    """gRPC answers first: readiness is asked for over HTTP."""
    server = await start_grpc(service, host=host, port=grpc_port, limits=_LIMITS)
    try:
        await rest.start()
    finally:
        await server.stop(grace=_GRPC_GRACE_S)


def make_server(
    model: ServedModel, *, host: str, port: int, digest: str, under_way: RequestsUnderWay | None = None
) -> RESTServer:
    """Ready to start; there is one in a process, because KServe's application is a global."""
    server = ModelServer(http_port=port, enable_grpc=False, enable_latency_logging=False)
    _quieten()  # after the constructor, which sets up logging
    server.register_model(model)
    model.enable_latency_logging = False
    dataplane = CarefulDataPlane(server.registered_models, standstill_of=lambda: model.standstill)
    app.include_router(v1_router())
    app.include_router(v2_router(dataplane))
    app.add_exception_handler(HTTPException, _as_the_protocol_says)
    rest = RESTServer(
        "kserve.model_server:app",
        dataplane,
        server.model_repository_extension,
        http_port=port,
        grace_period=_GRACE_S,
    )
    limit_config(rest.config, _LIMITS)
    rest.config.host = host  # KServe's own is 0.0.0.0
    rest.config.access_log = False
    direct = DirectAnswers(app, dataplane, model, under_way=under_way)
    rest.config.app = AnswerHeaders(CompressedBodies(direct, bytes_max=_LIMITS.body_bytes_max), digest)
    return rest


async def _as_the_protocol_says(_: Request, error: Exception) -> Response:
    """The protocol's errors are `{"error": text}`; FastAPI says `detail`."""
    assert isinstance(error, HTTPException)
    return JSONResponse({"error": error.detail}, error.status_code, headers=error.headers)


class CarefulDataPlane(DataPlane):
    """KServe's, where a body or a CloudEvent's attributes that it cannot read are the caller's error, not ours.

    It is not alive while a loop stands still: a probe of `/v2/health/live` restarts it. It stays ready: a payload
    log that hangs takes no model out of the traffic.
    """

    def __init__(self, models: ModelRepository, *, standstill_of: Callable[[], str]) -> None:
        super().__init__(models)
        self._standstill_of = standstill_of

    async def live(self) -> dict[str, str]:
        standstill = self._standstill_of()
        if standstill:
            log.error("not alive: %s", standstill)
        return {"status": standstill or "alive"}

    def metadata(self) -> dict[str, Any]:
        return {"name": "ratchet", "version": version("ratchet"), "extensions": ["binary_tensor_data"]}

    async def model_metadata(self, model_name: str) -> dict[str, Any]:
        return {**await super().model_metadata(model_name), "platform": _PLATFORM}

    def decode(self, *args: Any, **options: Any) -> Any:
        return _or_invalid(super().decode, "The request cannot be read", *args, **options)

    def encode(self, *args: Any, **options: Any) -> Any:
        return _or_invalid(super().encode, "The answer cannot be sent as asked for", *args, **options)


def _or_invalid(read: Callable[..., Any], what: str, *args: Any, **options: Any) -> Any:
    try:
        return read(*args, **options)
    except InvalidInput as error:
        raise InvalidInput(printable(str(error))) from None
    except Exception as error:
        raise InvalidInput(f"{what}: {type(error).__name__}: {printable(str(error))[:_ERROR_LENGTH]}.") from None


class AnswerHeaders:
    """ASGI middleware: each answer, an error too, names the model that gave it and the request that it answers.

    The id of a request is the gateway's, or the user's own; one that has none gets one here. Feedback names it later.
    """

    def __init__(self, app: ASGIApp, digest: str) -> None:
        self._app = app
        self._digest = (DIGEST_HEADER, digest.encode())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = _request_id_of(scope)
        others = [pair for pair in scope["headers"] if pair[0] != REQUEST_ID_HEADER]
        ours = (REQUEST_ID_HEADER, request_id)

        async def send_with_headers(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                theirs = (pair for pair in message.get("headers", ()) if pair[0].lower() != REQUEST_ID_HEADER)
                message = {**message, "headers": [*theirs, self._digest, ours]}
            await send(message)

        await self._app({**scope, "headers": [*others, ours]}, receive, send_with_headers)


def _request_id_of(scope: Scope) -> bytes:
    for name, value in scope["headers"]:
        if name == REQUEST_ID_HEADER and _is_request_id(value):
            return bytes(value)
    return uuid.uuid4().hex.encode()


def _is_request_id(value: bytes | str) -> bool:
    return 0 < len(value) <= _REQUEST_ID_BYTES_MAX and value.isascii()


def answer_headers(asked: Mapping[str, str], *, digest: str) -> dict[str, str]:
    """The same two of an answer over gRPC."""
    request_id = asked.get(REQUEST_ID_HEADER.decode(), "")
    return {
        DIGEST_HEADER.decode(): digest,
        REQUEST_ID_HEADER.decode(): request_id if _is_request_id(request_id) else uuid.uuid4().hex,
    }


class _NoInvalidInput(logging.Filter):
    """KServe logs a traceback for each mistaken request: whoever sends many would fill the disk."""

    def filter(self, record: logging.LogRecord) -> bool:
        return not (record.exc_info and isinstance(record.exc_info[1], InvalidInput | ModelNotFound))


def _quieten() -> None:
    for name in _QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.getLogger("kserve").addFilter(_NoInvalidInput())
