"""How slow and how large a request may be: limits that all of our HTTP servers share.

uvicorn waits without an end for the rest of a request, and takes any number of connections: a few hundred sockets that
send a byte now and then, or nothing, keep everyone else out. Here each wait for a client has a deadline.
"""

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import uvicorn
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

_LINGER_S = 1.0
"""Closed at once, a client that still sends would lose the answer that says why."""


@dataclass(frozen=True)
class RequestLimits:
    """The first two deadlines are a little longer than the gateway's (5 s, 60 s), which answers its users first."""

    header_s: float = 10.0
    """From the connection, or from the first byte of a later request, to the end of its headers."""
    body_s: float = 65.0
    """From there to the end of the body; time in which the server itself does not read is not counted."""
    body_bytes_per_s: int = 64 * 1024
    """Each so many bytes that have come add a second: large bodies may take longer, trickling ones may not."""
    write_s: float = 60.0
    """Longest wait for a client that does not read its answer."""
    header_bytes_max: int = 64 * 1024
    body_bytes_max: int = 16 * 1024 * 1024
    connections_max: int = 256


def serve_limited(app: Callable[..., Any], *, limits: RequestLimits | None = None, **options: Any) -> None:
    """`uvicorn.run` within the limits, until SIGTERM."""
    uvicorn.run(app, http=limited(limits or RequestLimits()), ws="none", **options)


def limit_config(config: uvicorn.Config, limits: RequestLimits) -> None:
    """Of a server that somebody else starts; before it does."""
    config.http, config.ws = limited(limits), "none"


def limited(limits: RequestLimits) -> type[HttpToolsProtocol]:
    """For uvicorn's `http=`, with `ws="none"`: an upgraded connection would leave the limits."""
    return type("LimitedProtocol", (LimitedProtocol,), {"limits": limits})


class LimitedProtocol(HttpToolsProtocol):
    """One connection. At most one deadline runs at a time: that of the headers, or that of the body."""

    limits: ClassVar[RequestLimits]

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._deadline: asyncio.TimerHandle | None = None
        self._stalled: asyncio.TimerHandle | None = None
        self._lingering: asyncio.TimerHandle | None = None
        self._is_refused = False
        self._is_in_headers = True
        self._num_header_bytes = self._num_body_bytes = 0
        self._began_at = 0.0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > self.limits.connections_max:
            self._refuse(
                503, f"the server has {self.limits.connections_max} connections, which is its limit; try again"
            )
        else:
            self._await_headers()

    def connection_lost(self, exc: Exception | None) -> None:
        for timer in (self._deadline, self._stalled, self._lingering):
            if timer is not None:
                timer.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._is_refused:
            return
        if self._is_in_headers:
            self._num_header_bytes += len(data)
            if self._deadline is None:  # of a later request on the same connection
                self._await_headers()
        super().data_received(data)
        if self._is_in_headers and self._num_header_bytes > self.limits.header_bytes_max:
            self._refuse(431, f"the request has more than {self.limits.header_bytes_max:,} bytes of headers")

    def on_headers_complete(self) -> None:
        self._is_in_headers = False
        self._num_header_bytes = self._num_body_bytes = 0
        if self._announced_bytes() > self.limits.body_bytes_max:
            self._refuse_body()
            return
        super().on_headers_complete()
        self._began_at = self.loop.time()
        self._arm(self.limits.body_s, self._on_slow_body)

    def on_body(self, body: bytes) -> None:
        self._num_body_bytes += len(body)
        if self._num_body_bytes > self.limits.body_bytes_max:
            self._refuse_body()
        if not self._is_refused:
            super().on_body(body)

    def on_message_complete(self) -> None:
        if self._is_refused:
            return
        self._disarm()
        self._is_in_headers = True
        super().on_message_complete()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._stalled = self.loop.call_later(self.limits.write_s, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._stalled is not None:
            self._stalled.cancel()

    def _await_headers(self) -> None:
        self._arm(self.limits.header_s, self._on_slow_headers)

    def _on_slow_headers(self) -> None:
        is_busy = self.cycle is not None and not self.cycle.response_complete
        if is_busy or self.flow.read_paused:  # an earlier request is still being answered
            self._await_headers()
        elif self._num_header_bytes:
            self._refuse(408, f"the headers did not arrive within {self.limits.header_s:g} s")
        else:
            self.transport.close()

    def _on_slow_body(self) -> None:
        allowed_s = self.limits.body_s + self._num_body_bytes / self.limits.body_bytes_per_s
        left_s = self._began_at + allowed_s - self.loop.time()
        if self.flow.read_paused:
            self._began_at += self.limits.body_s
            self._arm(self.limits.body_s, self._on_slow_body)
        elif left_s > 0:
            self._arm(left_s, self._on_slow_body)
        else:
            self._refuse(408, f"the body did not arrive within {allowed_s:.0f} s")

    def _arm(self, seconds: float, on_deadline: Any) -> None:
        self._disarm()
        self._deadline = self.loop.call_later(seconds, on_deadline)

    def _disarm(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _announced_bytes(self) -> int:
        length = dict(self.headers).get(b"content-length", b"0")
        # Twenty digits are beyond int64: such a body counts as unannounced, and is measured as it comes.
        return int(length) if length.isdigit() and len(length) < 20 else 0

    def _refuse_body(self) -> None:
        self._refuse(413, f"the body has more than {self.limits.body_bytes_max:,} bytes, which is the limit")

    def _refuse(self, status: int, text: str) -> None:
        """Answer, where no answer has begun, and close once the client has had time to read it."""
        if self._is_refused:
            return
        self._is_refused = True
        self._disarm()
        self._unset_keepalive_if_required()
        has_begun = False
        if self.cycle is not None and not self.cycle.response_complete:
            has_begun = self.cycle.response_started
            self.cycle.disconnected = True  # what the application still sends goes nowhere
            self.cycle.message_event.set()
        if has_begun or self.transport.is_closing() or len(self.connections) > 2 * self.limits.connections_max:
            self.transport.abort()
            return
        self.transport.write(_answer(status, text))
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self.flow.resume_reading()
        self._lingering = self.loop.call_later(_LINGER_S, self.transport.abort)


def _answer(status: int, text: str) -> bytes:
    """In a form in which clients of all of our servers find the message."""
    body = json.dumps({"code": status, "message": text, "detail": text, "error": text}).encode()
    head = b"content-type: application/json\r\nconnection: close\r\ncontent-length: %d\r\n\r\n" % len(body)
    return STATUS_LINE[status] + head + body
