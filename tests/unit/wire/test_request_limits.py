"""A slow, huge or silent client loses its connection within the limit, and others are served meanwhile."""

import asyncio
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import uvicorn
from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import PlainTextResponse, StreamingResponse

import embedded.control_plane.__main__ as control_plane
from embedded import tracking_server
from ratchet.settings import Settings
from sensors.service import serve
from tests.conftest import PROJECT_DIR
from wire.request_limits import LimitedProtocol, RequestLimits, limited

pytestmark = pytest.mark.slow

SHORT = RequestLimits(
    header_s=0.3, body_s=0.3, body_bytes_per_s=10_000, write_s=0.3, header_bytes_max=4096, body_bytes_max=100_000,
    connections_max=8,
)  # fmt: skip
HEAD = b"POST /size HTTP/1.1\r\nhost: 127.0.0.1\r\n"
CHUNKED = HEAD + b"transfer-encoding: chunked\r\n\r\n"


async def app(scope: Any, receive: Any, send: Any) -> None:
    request = Request(scope, receive)
    if scope["path"] == "/flood":
        answer: Any = StreamingResponse(b"x" * 65536 for _ in range(1000))
    elif scope["path"] == "/slow":
        await asyncio.sleep(0.8)
        answer = PlainTextResponse("at last")
    else:
        answer = PlainTextResponse(str(len(await request.body())))
    await answer(scope, receive, send)


@contextmanager
def serving(limits: RequestLimits, application: Any = app) -> Iterator[int]:
    config = uvicorn.Config(application, port=0, http=limited(limits), ws="none", log_level="critical", lifespan="off")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.005)
    yield server.servers[0].sockets[0].getsockname()[1]
    server.should_exit = server.force_exit = True
    thread.join(timeout=10)


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with serving(SHORT) as port:
        yield port


def connect(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=5)


def all_of(client: socket.socket) -> bytes:
    """What comes until the server closes; b"" when it closes without a word."""
    data = b""
    try:
        while piece := client.recv(65536):
            data += piece
    except ConnectionResetError:
        pass
    return data


def size(port: int, body: bytes = b"") -> bytes:
    with closing(connect(port)) as client:
        client.sendall(HEAD + b"connection: close\r\ncontent-length: %d\r\n\r\n" % len(body) + body)
        return all_of(client)


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        pytest.param(b"", b"", id="silent"),
        pytest.param(b"\r\n", b"408", id="an-empty-line"),
        pytest.param(b"POST / HTTP/1.1\r\nhost: a", b"408", id="half-a-header"),
        pytest.param(HEAD + b"content-length: 10\r\n\r\nabc", b"408", id="half-a-body"),
        pytest.param(CHUNKED + b"3\r\nabc\r\n", b"408", id="half-a-chunked-body"),
    ],
)
def test_a_request_that_does_not_arrive_is_closed(port: int, sent: bytes, status: bytes) -> None:
    with closing(connect(port)) as client:
        began_s = time.monotonic()
        client.sendall(sent)
        assert all_of(client)[9:12] == status
        print(f"closed after {time.monotonic() - began_s:.2f} s; the limit is 0.3 s")


@pytest.mark.parametrize("head", [b"POST / HTTP/1.1\r\nx-a: ", HEAD + b"content-length: 1000\r\n\r\n"])
def test_a_request_that_trickles_in_is_closed(port: int, head: bytes) -> None:
    with closing(connect(port)) as client:
        client.sendall(head)
        num_sent = 0
        try:
            while num_sent < 200:
                client.sendall(b"a")
                num_sent += 1
                time.sleep(0.02)
        except OSError:
            pass
        assert num_sent < 200, "it took every byte"
        assert size(port, b"abc").endswith(b"\r\n3"), "others are served"


def test_a_later_request_on_a_connection_has_its_own_deadlines(port: int) -> None:
    with closing(connect(port)) as client:
        for _ in range(3):
            client.sendall(HEAD + b"content-length: 1\r\n\r\na")
            time.sleep(0.12)
        client.sendall(b"POST /size HTT")
        answers = all_of(client)
    assert answers.count(b"200 OK") == 3 and answers.count(b" 408 ") == 1


def test_a_large_body_may_take_longer_when_it_keeps_coming(port: int) -> None:
    with closing(connect(port)) as client:
        client.sendall(HEAD + b"connection: close\r\ncontent-length: 8000\r\n\r\n")
        for _ in range(8):
            client.sendall(b"a" * 1000)
            time.sleep(0.05)
        assert all_of(client).endswith(b"\r\n8000")


def test_an_answer_that_takes_the_server_long_is_not_cut(port: int) -> None:
    with closing(connect(port)) as client:
        client.sendall(b"GET /slow HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
        assert all_of(client).endswith(b"at last")


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        pytest.param(HEAD + b"x-a: " + b"a" * 300_000, b"431", id="headers"),
        pytest.param(HEAD + b"content-length: 100001\r\n\r\n", b"413", id="announced-body"),
        pytest.param(CHUNKED + b"fff\r\n%s\r\n" % (b"a" * 4095) * 30, b"413", id="chunked"),
        pytest.param(HEAD + b"content-length: 9" + b"9" * 40 + b"\r\n\r\n", b"400", id="a-length-beyond-64-bits"),
    ],
)  # fmt: skip
def test_what_is_too_large_is_refused_and_the_client_learns_why(port: int, sent: bytes, status: bytes) -> None:
    with closing(connect(port)) as client:
        client.sendall(sent)
        assert all_of(client)[9:12] == status
    assert size(port, b"a" * 90_000).endswith(b"\r\n90000"), "what is within the limit passes"


def test_connections_beyond_the_limit_are_refused_and_slow_ones_make_room(port: int) -> None:
    clients = [connect(port) for _ in range(SHORT.connections_max)]
    late = connect(port)
    assert all_of(late)[9:12] == b"503"
    time.sleep(SHORT.header_s + 0.2)
    assert size(port, b"abc").endswith(b"\r\n3")
    for client in (*clients, late):
        client.close()


def test_a_client_that_does_not_read_its_answer_is_cut(port: int) -> None:
    with closing(connect(port)) as client:
        client.sendall(b"GET /flood HTTP/1.1\r\nhost: a\r\n\r\n")
        time.sleep(SHORT.write_s + 0.3)
        num_bytes = len(all_of(client))
    assert num_bytes < 65536 * 1000


def test_pipelined_requests_are_answered_in_turn(port: int) -> None:
    one = b"POST /size HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\nabc"
    last = b"POST /size HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: 2\r\n\r\nab"
    with closing(connect(port)) as client:
        client.sendall(one * 3 + last)
        assert all_of(client).count(b"200 OK") == 4


def test_every_server_of_ours_is_within_the_limits(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    started: list[dict[str, Any]] = []
    monkeypatch.setattr(uvicorn, "run", lambda app, **options: started.append(options))
    monkeypatch.setattr("sensors.service.log_as_json", lambda secrets: None)
    for service in ("sensor", "guard"):
        serve(FastAPI(title=service), Settings(), host="127.0.0.1", port=1)
    (tmp_path / "token").write_text("t")
    (tmp_path / "mlflow.db").write_text("")
    monkeypatch.setattr(sys, "argv", ["x", str(tmp_path / "mlflow.db"), "1", str(tmp_path / "token")])
    monkeypatch.setitem(sys.modules, "mlflow.server.fastapi_app", SimpleNamespace(app=FastAPI()))
    tracking_server.main()
    monkeypatch.setattr(control_plane, "create_app", lambda config: FastAPI())
    monkeypatch.setattr(control_plane, "parse_arguments", lambda: SimpleNamespace(port=1))
    control_plane.main()
    assert len(started) == 4
    for options in started:
        assert issubclass(options["http"], LimitedProtocol) and options["ws"] == "none"


def test_no_server_of_ours_is_started_without_limits() -> None:
    root = PROJECT_DIR
    files = [
        path for folder in ("ratchet", "embedded", "sensors", "demo", "wire") for path in (root / folder).rglob("*.py")
    ]
    starters = [path.name for path in files if "uvicorn.run(" in path.read_text()]
    makers = [
        path.name for path in files if "RESTServer(" in path.read_text() and "limit_config(" not in path.read_text()
    ]
    assert starters == ["request_limits.py"] and not makers
