"""A bad network on real sockets: an HTTP proxy before a real server that spoils one chosen call."""

import http.client
import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal
from urllib.parse import urlsplit

Fault = Literal["refused", "error-before", "answer-lost", "error-after", "late"]
"""refused: the connection breaks off before the server sees the call. error-before: 503, and the server never sees it.
answer-lost: the server has done it, the connection breaks off. error-after: the server has done it, and 500 is said.
late: the server sees it `late_s` later, when its caller may have given up."""
_UPSTREAM_TIMEOUT_S = 30.0


class FaultProxy:
    """Counts the calls since `arm`, and spoils call number `number` of them; 0 spoils none."""

    def __init__(self, upstream: str, *, late_s: float = 1.0) -> None:
        self._upstream = urlsplit(upstream)
        self._late_s = late_s
        self._lock = threading.Lock()
        self._number, self._fault, self._only = 0, "refused", ""
        self.num_calls = 0
        self._num_open = 0
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"  # answers `Expect: 100-continue`, for which botocore waits a second

            def handle_one_request(self) -> None:
                super().handle_one_request()
                self.close_connection = True

            def log_message(self, *args: Any) -> None:
                """Quiet."""

            def __getattr__(self, name: str) -> Any:
                if name.startswith("do_"):
                    return lambda: proxy.pass_on(self)
                raise AttributeError(name)

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    @contextmanager
    def running(self) -> Iterator["FaultProxy"]:
        self._thread.start()
        try:
            yield self
        finally:
            self._server.shutdown()
            self._server.server_close()

    def arm(self, number: int, fault: Fault = "refused", *, only: str = "") -> None:
        """Spoil the call of this number from now on, of those whose "METHOD path" holds `only`."""
        with self._lock:
            self._number, self._fault, self._only, self.num_calls = number, fault, only, 0

    def wait_idle(self) -> None:
        """Until no call is under way any more, late ones included."""
        while self._num_open:
            time.sleep(0.01)

    def pass_on(self, request: BaseHTTPRequestHandler) -> None:
        with self._lock:
            self.num_calls += self._only in f"{request.command} {request.path}"
            is_spoilt = self.num_calls == self._number and self._only in f"{request.command} {request.path}"
            fault = self._fault if is_spoilt else None
            self._num_open += 1
        try:
            self._answer(request, fault)
        finally:
            with self._lock:
                self._num_open -= 1

    def _answer(self, request: BaseHTTPRequestHandler, fault: str | None) -> None:
        body = request.rfile.read(int(request.headers.get("Content-Length") or 0))
        if fault == "refused":
            _break_off(request)
            return
        if fault == "error-before":
            _say(request, 503, [], b"{}")
            return
        if fault == "late":
            time.sleep(self._late_s)
        upstream = http.client.HTTPConnection(
            str(self._upstream.hostname), self._upstream.port, timeout=_UPSTREAM_TIMEOUT_S
        )
        upstream.putrequest(request.command, request.path, skip_host=True, skip_accept_encoding=True)
        for name, value in request.headers.items():
            if name.lower() != "expect":
                upstream.putheader(name, value)
        upstream.endheaders(body)
        answer = upstream.getresponse()
        data = answer.read()
        upstream.close()
        if fault == "answer-lost":
            _break_off(request)
        elif fault == "error-after":
            _say(request, 500, [], b"{}")
        else:
            _say(request, answer.status, answer.getheaders(), data)


def _say(request: BaseHTTPRequestHandler, status: int, headers: list[tuple[str, str]], data: bytes) -> None:
    own = {"connection", "transfer-encoding", "content-length", "keep-alive"}
    length = next((value for name, value in headers if name.lower() == "content-length"), str(len(data)))
    try:
        request.send_response_only(status)
        for name, value in headers:
            if name.lower() not in own:
                request.send_header(name, value)
        request.send_header("Content-Length", length if request.command == "HEAD" else str(len(data)))
        request.send_header("Connection", "close")
        request.end_headers()
        request.wfile.write(data if request.command != "HEAD" else b"")
    except OSError:
        pass  # its caller gave up


def _break_off(request: BaseHTTPRequestHandler) -> None:
    """A reset: what the other side sees when nobody listens, or a machine dies."""
    request.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    request.connection.close()
