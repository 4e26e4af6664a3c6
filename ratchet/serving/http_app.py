"""V1 and V2 over HTTP as an ASGI application of its own: a web framework takes most of a small model's request.

Paths, answers and errors are those of KServe's Python server, with the protocol's words where that differs. What this
server does not have is the caller's error (404), never a 5xx, which would count against the model that answers.
"""

import json
import logging
import re
import time
from collections.abc import Awaitable, Callable, Mapping
from importlib.metadata import version
from typing import Any, NamedTuple

import orjson

from ratchet.core.errors import DataRejected
from ratchet.serving.answer_headers import DIGEST_HEADER, REQUEST_ID_HEADER, request_id_of
from ratchet.serving.cloud_events import STRUCTURED, event_headers, event_of, is_binary_event
from ratchet.serving.compressed_bodies import BodyTooLarge, UnknownEncoding, plain_body
from ratchet.serving.metrics import render_metrics
from ratchet.serving.model import ServedModel
from ratchet.serving.overload import Overloaded, RequestsUnderWay
from ratchet.serving.protocol_errors import InferenceError, ModelNotFound, ModelNotReady, NotServed, ProtocolError
from ratchet.serving.rendering import infer_body
from ratchet.serving.request_body import Receive, read_body

log = logging.getLogger(__name__)
HEADER_LENGTH = "inference-header-content-length"
SERVER_METADATA = {"name": "ratchet", "version": version("ratchet"), "extensions": ["binary_tensor_data"]}
_JSON, _BINARY = "application/json", "application/octet-stream"
_SHOWN = 80
Headers = Mapping[str, str]
Send = Callable[[dict[str, Any]], Awaitable[None]]


class _Reply(NamedTuple):
    status: int
    content: bytes
    fields: tuple[tuple[bytes, bytes], ...] = ()
    content_type: str = _JSON


class _Asked(NamedTuple):
    """A request whose path is known."""

    headers: Headers
    name: str
    """Of the model in the path; "" where it has none."""
    request_id: str
    receive: Receive


class HttpApp:
    """Answers for one model. Its gRPC side shares `under_way`."""

    def __init__(
        self, model: ServedModel, *, digest: str, bytes_max: int, under_way: RequestsUnderWay | None = None
    ) -> None:
        self._model = model
        self._digest = (DIGEST_HEADER.encode(), digest.encode())
        self._bytes_max = bytes_max
        self._under_way = under_way or RequestsUnderWay()
        self._routes = _routes_of(self)
        self._direct = {
            f"/v1/models/{model.name}:predict": self.predict_v1,
            f"/v2/models/{model.name}/infer": self.infer_v2,
        }
        """What users ask all day is found without a look at the patterns."""

    async def __call__(self, scope: Mapping[str, Any], receive: Receive, send: Send) -> None:
        # Of a header that comes twice the first counts, as in Starlette.
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in reversed(scope["headers"])}
        request_id = request_id_of(headers)
        try:
            reply = await self._reply(scope, headers, request_id, receive)
        except Exception as error:
            reply = _error_reply(error)
        if reply is None:
            return
        fields = [
            (b"content-type", reply.content_type.encode()),
            (b"content-length", str(len(reply.content)).encode()),
            *reply.fields,
            self._digest,
            (REQUEST_ID_HEADER.encode(), request_id.encode()),
        ]
        await send({"type": "http.response.start", "status": reply.status, "headers": fields})
        await send({"type": "http.response.body", "body": reply.content})

    async def _reply(
        self, scope: Mapping[str, Any], headers: Headers, request_id: str, receive: Receive
    ) -> _Reply | None:
        """None when the client has gone."""
        method, path = scope["method"], scope["path"]
        if method == "POST" and (answer := self._direct.get(path)) is not None:
            return await self._take(answer, _Asked(headers, self._model.name, request_id, receive))
        allowed = []
        for route in self._routes:
            match = route.pattern.fullmatch(path.removesuffix("/") or "/")
            if match is None:
                continue
            if route.method not in (method, "*"):
                allowed.append(route.method)
                continue
            name = match.groupdict().get("model", "")
            return await route.answer(_Asked(headers, name, request_id, receive))
        if allowed:
            return _told(405, "Method Not Allowed", (b"allow", ", ".join(allowed).encode()))
        return _told(404, "Not Found")

    async def _take(self, answer: "Callable[[bytes, _Asked], Awaitable[_Reply]]", asked: _Asked) -> _Reply | None:
        """A request that the model works for, unless too many wait before it."""
        body = await read_body(asked.receive)  # a client that trickles its body keeps nobody waiting
        if body is None:
            return None
        body = await plain_body(body, asked.headers.get("content-encoding", ""), bytes_max=self._bytes_max)
        if not self._model.is_ready:
            raise ModelNotReady(self._model.name)
        began_at = time.monotonic()
        self._under_way.begin()
        try:
            return await answer(body, asked)
        finally:
            self._under_way.end(began_at=began_at, now=time.monotonic())

    async def predict_v1(self, body: bytes, asked: _Asked) -> _Reply:
        inputs = await self._model.read_v1(body, asked.headers)
        answer = await self._model.answer_v1(inputs, request_id=asked.request_id)
        if is_binary_event(asked.headers):
            return _Reply(200, orjson.dumps(answer), tuple(event_headers(self._model.name)))
        if asked.headers.get("content-type") == STRUCTURED:
            return _Reply(200, orjson.dumps(event_of(answer, model=self._model.name)), content_type=STRUCTURED)
        return _Reply(200, orjson.dumps(answer))

    async def infer_v2(self, body: bytes, asked: _Asked) -> _Reply:
        request = await self._model.read_v2(body, header_length=asked.headers.get(HEADER_LENGTH))
        answer = await self._model.answer_v2(request, request_id=asked.request_id)
        content, json_length = infer_body(answer, request.outputs)
        if json_length == len(content):
            return _Reply(200, content)
        return _Reply(200, content, ((HEADER_LENGTH.encode(), str(json_length).encode()),), _BINARY)

    async def alive(self, _: _Asked) -> _Reply:
        return _said({"status": self._standstill() or "alive"})

    async def live(self, _: _Asked) -> _Reply:
        """It is not alive while a loop stands still: a probe restarts it. It stays ready: a payload log that hangs
        takes no model out of the traffic."""
        return _told(503, "Server is not live.") if self._standstill() else _said({"live": True})

    def _standstill(self) -> str:
        standstill = self._model.standstill
        if standstill:
            log.error("not alive: %s", standstill)
        return standstill

    async def ready(self, _: _Asked) -> _Reply:
        return _said({"ready": True}) if self._model.is_ready else _told(503, "Server is not ready.")

    async def model_ready(self, asked: _Asked) -> _Reply:
        self._check_name(asked)
        if not self._model.is_ready:
            raise ModelNotReady(asked.name)
        return _said({"name": asked.name, "ready": True})

    async def models(self, _: _Asked) -> _Reply:
        return _said({"models": [self._model.name]})

    async def metadata(self, _: _Asked) -> _Reply:
        return _said(SERVER_METADATA)

    async def model_metadata(self, asked: _Asked) -> _Reply:
        self._check_name(asked)
        return _said(self._model.metadata)

    async def metrics(self, asked: _Asked) -> _Reply:
        content, content_type = render_metrics(asked.headers.get("accept", ""))
        return _Reply(200, content, content_type=content_type)

    async def unknown_model(self, asked: _Asked) -> _Reply:
        """The served model's own requests take the direct way."""
        raise ModelNotFound(asked.name[:_SHOWN])

    async def no_explainer(self, asked: _Asked) -> _Reply:
        raise NotServed(f"{asked.name[:_SHOWN]}: this model has no explainer; ask :predict instead.")

    async def no_versions(self, asked: _Asked) -> _Reply:
        raise NotServed(f"{asked.name[:_SHOWN]}: one version serves at a time; leave /versions/ out of the path.")

    async def no_repository(self, _: _Asked) -> _Reply:
        raise NotServed("This server has one model, which its clients can neither load nor unload.")

    def _check_name(self, asked: _Asked) -> None:
        if asked.name != self._model.name:
            raise ModelNotFound(asked.name[:_SHOWN])


class _Route(NamedTuple):
    method: str
    """`*`: any."""
    pattern: re.Pattern[str]
    answer: Callable[[_Asked], Awaitable[_Reply]]


def _routes_of(app: HttpApp) -> tuple[_Route, ...]:
    v1, v2 = "/v1/models/(?P<model>[^/:]+)", "/v2/models/(?P<model>[^/]+)"
    table: tuple[tuple[str, str, Callable[[_Asked], Awaitable[_Reply]]], ...] = (
        ("GET", "/", app.alive),
        ("GET", "/metrics", app.metrics),
        ("GET", "/v1/models", app.models),
        ("GET", v1, app.model_ready),
        ("POST", f"{v1}:predict", app.unknown_model),
        ("POST", f"{v1}:explain", app.no_explainer),
        ("GET", "/v2", app.metadata),
        ("GET", "/v2/health/live", app.live),
        ("GET", "/v2/health/ready", app.ready),
        ("GET", "/v2/models", app.models),
        ("GET", v2, app.model_metadata),
        ("GET", f"{v2}/ready", app.model_ready),
        ("POST", f"{v2}/infer", app.unknown_model),
        ("*", f"{v2}/versions/[^/]+(/ready|/infer)?", app.no_versions),
        ("POST", "/v2/repository/.*", app.no_repository),
    )
    return tuple(_Route(method, re.compile(path, re.DOTALL), answer) for method, path, answer in table)


def _said(document: Mapping[str, Any]) -> _Reply:
    return _Reply(200, orjson.dumps(document))


def _told(status: int, text: str, *fields: tuple[bytes, bytes]) -> _Reply:
    """The protocol's errors are `{"error": text}`. A model's own text may be no UTF-8, which orjson would refuse."""
    return _Reply(status, json.dumps({"error": text}, ensure_ascii=False).encode(errors="replace"), fields)


def _error_reply(error: Exception) -> _Reply:
    match error:
        case Overloaded():
            return _told(429, str(error), (b"retry-after", str(error.retry_after_s).encode()))
        case UnknownEncoding():
            return _told(415, f"{error}.")
        case BodyTooLarge():
            return _told(413, f"{error}.")
        case DataRejected():
            return _told(400, f"{error}.")
        case InferenceError():
            log.error("%s", error, exc_info=error)
            return _told(error.status, str(error))
        case ProtocolError():
            return _told(error.status, str(error))
    log.error("%s: %s", type(error).__name__, error, exc_info=error)
    return _told(500, f"{type(error).__name__} : {error}")
