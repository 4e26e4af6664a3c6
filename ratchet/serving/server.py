"""KServe's ModelServer around one model: an interface of our choice, a quiet log, the digest on each answer."""

import asyncio
import logging
from collections.abc import MutableMapping
from typing import Any

from kserve.errors import InvalidInput, ModelNotFound
from kserve.model_server import ModelServer, app
from kserve.protocol.rest.server import RESTServer
from starlette.types import ASGIApp, Receive, Scope, Send

from ratchet.serving.model import ServedModel

DIGEST_HEADER = b"x-ratchet-model"
_GRACE_S = 10
_QUIET = ("kserve.trace", "uvicorn.access")
"""KServe writes two lines for each request; the gateway counts requests already."""


def serve(model: ServedModel, *, host: str, port: int, digest: str) -> None:
    """Answer until SIGTERM, then finish what has begun. The model must be loaded."""
    server = ModelServer(http_port=port, enable_grpc=False, enable_latency_logging=False)
    _quieten()  # after the constructor, which sets up logging
    server.register_model(model)
    model.enable_latency_logging = False
    rest = RESTServer(
        "kserve.model_server:app",
        server.dataplane,
        server.model_repository_extension,
        http_port=port,
        grace_period=_GRACE_S,
    )
    rest.config.host = host  # KServe's own is 0.0.0.0
    rest.config.access_log = False
    rest.config.app = DigestHeader(app, digest)
    asyncio.run(rest.start())


class DigestHeader:
    """ASGI middleware: each answer, an error too, names the model that gave it."""

    def __init__(self, app: ASGIApp, digest: str) -> None:
        self._app = app
        self._header = (DIGEST_HEADER, digest.encode())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_header(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message.get("headers", ()), self._header]}
            await send(message)

        await self._app(scope, receive, send_with_header if scope["type"] == "http" else send)


class _NoInvalidInput(logging.Filter):
    """KServe logs a traceback for each mistaken request: whoever sends many would fill the disk."""

    def filter(self, record: logging.LogRecord) -> bool:
        return not (record.exc_info and isinstance(record.exc_info[1], InvalidInput | ModelNotFound))


def _quieten() -> None:
    for name in _QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.getLogger("kserve").addFilter(_NoInvalidInput())
