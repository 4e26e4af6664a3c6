"""Requests as they come over the wire, to an application without sockets: what an HTTP client would not send, too."""

import asyncio
import json
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

_ANSWER_S_MAX = 20.0


@dataclass(frozen=True)
class Call:
    method: str
    target: str
    """Path and query, as in the request line."""
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


def scope_of(call: Call) -> dict[str, Any]:
    """As uvicorn makes it."""
    raw_path, _, query = call.target.partition("?")
    headers = {"host": "127.0.0.1", "content-length": str(len(call.body)), **call.headers}
    return {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": call.method, "scheme": "http",
        "path": unquote(raw_path), "raw_path": raw_path.encode(), "query_string": query.encode(), "root_path": "",
        "headers": [(name.lower().encode(), value.encode("latin-1")) for name, value in headers.items()],
        "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 1), "state": {},
    }  # fmt: skip


async def answer_to(app: Any, call: Call) -> Answer:
    """The whole answer. An exception of the application is raised; a watch ends, because its client goes."""
    pieces = [{"type": "http.request", "body": call.body, "more_body": False}]
    start: dict[str, Any] = {}
    body = bytearray()

    async def receive() -> dict[str, Any]:
        if pieces:
            return pieces.pop()
        await asyncio.sleep(0.005)
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            start.update(message)
        body.extend(message.get("body", b""))

    await asyncio.wait_for(app(scope_of(call), receive, send), _ANSWER_S_MAX)
    headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in start.get("headers", [])}
    return Answer(start["status"], headers, bytes(body))
