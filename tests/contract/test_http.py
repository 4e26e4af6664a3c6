"""The HTTP client against a server that misbehaves: deadlines, repetition, sizes, redirects, and what errors say."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from ratchet.adapters.http import ONCE, HttpClient, Peer, Request, Retry
from ratchet.adapters.tls import Trust
from ratchet.core.errors import Conflict, DataRejected, NotFound, RatchetError, SettingsError, Unavailable
from tests.tls_world import issue, tls_server

TOKEN = "s3cret-token"
PEER = Peer(
    name="The server",
    next_step="`ratchet up` starts it.",
    endpoint="RATCHET_SERVER_ENDPOINT",
    identity="RATCHET_SERVER_TOKEN",
    not_found="`ratchet status` lists them.",
)
QUICK = Retry(num_tries=3, wait_s=0.01)
WITHIN_S = 0.4
Play = Callable[[BaseHTTPRequestHandler], None]


class Server:
    """Plays one act a request; the last one again and again."""

    def __init__(self) -> None:
        self.acts: list[Play] = []
        self.asked: list[str] = []
        self.seen: list[dict[str, str]] = []
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"server_of_test": self}))
        self._http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._http.server_port}"
        threading.Thread(target=lambda: self._http.serve_forever(poll_interval=0.02), daemon=True).start()

    def play(self, *acts: Play) -> "Server":
        self.acts, self.asked, self.seen = list(acts), [], []
        return self

    def close(self) -> None:
        self._http.shutdown()
        self._http.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_of_test: Server

    def _play(self) -> None:
        server = self.server_of_test
        self.rfile.read(int(self.headers.get("content-length", 0)))
        server.asked.append(f"{self.command} {self.path}")
        server.seen.append({name.lower(): value for name, value in self.headers.items()})
        act = server.acts[min(len(server.asked), len(server.acts)) - 1]
        try:
            act(self)
        except OSError:  # the client has left
            self.close_connection = True

    do_GET = do_POST = do_PUT = do_DELETE = do_PATCH = _play

    def log_message(self, *_: object) -> None:
        pass


def answer(status: int, body: bytes = b"{}", **headers: str) -> Play:
    def play(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.send_header("content-length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    return play


def hang(handler: BaseHTTPRequestHandler) -> None:
    handler.connection.recv(1)  # until the client leaves


def trickle_headers(handler: BaseHTTPRequestHandler) -> None:
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nx: ")
    for _ in range(200):
        handler.wfile.write(b"x")
        time.sleep(0.1)


def trickle_body(handler: BaseHTTPRequestHandler) -> None:
    handler.wfile.write(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n")
    for _ in range(200):
        handler.wfile.write(b"x")
        time.sleep(0.1)


def cut(handler: BaseHTTPRequestHandler) -> None:
    handler.wfile.write(b'HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n{"a"')
    handler.close_connection = True


def vanish(handler: BaseHTTPRequestHandler) -> None:
    handler.close_connection = True


def speak_nonsense(handler: BaseHTTPRequestHandler) -> None:
    handler.wfile.write(b"220 smtp.example.com ESMTP\r\n")
    handler.close_connection = True


def pour(handler: BaseHTTPRequestHandler) -> None:
    """Chunks without an end and without a length told before."""
    handler.wfile.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
    while True:
        handler.wfile.write(b"4000\r\n" + b"x" * 0x4000 + b"\r\n")


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    server = Server()
    yield server
    server.close()


def client(url: str, **changes: Any) -> HttpClient:
    return HttpClient(url, **{"peer": PEER, "token": TOKEN, "deadline_s": 5.0, "retry": QUICK, **changes})


def refused_url() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}"


@pytest.mark.parametrize("act", [hang, trickle_headers, trickle_body])
def test_a_deadline_holds_for_the_call_as_a_whole(server: Server, act: Play):
    server.play(act)
    began_s = time.monotonic()
    with pytest.raises(Unavailable, match=r"GET http://127\.0\.0\.1:\d+/x: timed out.*`ratchet up`"):
        client(server.url, deadline_s=WITHIN_S).ask(Request("GET", "/x"))
    assert WITHIN_S * 0.9 <= time.monotonic() - began_s < 15, "trickling takes 20 s"


def test_a_large_answer_may_take_long_while_it_flows_and_silence_has_a_limit_of_its_own(server: Server):
    def flow(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\ncontent-length: 14\r\n\r\n")
        for _ in range(14):
            time.sleep(0.1)
            handler.wfile.write(b"x")

    server.play(flow)
    assert client(server.url, idle_s=1.0).ask(Request("GET", "/x")).body == b"x" * 14
    server.play(hang)
    with pytest.raises(Unavailable, match="timed out"):
        client(server.url, idle_s=0.1, deadline_s=60.0, retry=ONCE).ask(Request("GET", "/x"))


def test_tries_share_the_deadline_and_each_has_its_own(server: Server):
    server.play(hang)
    with pytest.raises(Unavailable, match="tried 3 times"):
        client(server.url, try_s=0.1).ask(Request("GET", "/x"))
    assert len(server.asked) == 3
    server.play(hang)
    with pytest.raises(Unavailable):
        client(server.url, try_s=0.2, deadline_s=0.3, retry=Retry(num_tries=9, wait_s=0.01)).ask(Request("GET", "/x"))
    assert len(server.asked) < 4


@pytest.mark.parametrize("act", [answer(503), answer(502), answer(504), answer(429), cut, vanish, speak_nonsense])
@pytest.mark.parametrize(
    ("request_", "is_repeated"),
    [
        pytest.param(Request("GET", "/x"), True, id="get"),
        pytest.param(Request("PUT", "/x", json={}), True, id="put"),
        pytest.param(Request("DELETE", "/x"), True, id="delete"),
        pytest.param(Request("POST", "/x", json={}), False, id="post"),
        pytest.param(Request("PATCH", "/x", json={}), False, id="patch"),
        pytest.param(Request("POST", "/x", json={}, is_repeatable=True), True, id="post-with-a-key"),
        pytest.param(Request("GET", "/x", is_repeatable=False), False, id="get-that-does-something"),
    ],
)
def test_only_what_is_repeatable_is_sent_again(server: Server, act: Play, request_: Request, is_repeated: bool):
    server.play(act, answer(200, b'{"a": 1}'))
    http = client(server.url)
    if is_repeated:
        assert http.ask(request_).json() == {"a": 1}
    else:
        with pytest.raises(Unavailable):
            http.ask(request_)
    assert len(server.asked) == 1 + is_repeated


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_request_that_reached_nobody_is_always_sent_again(method: str, monkeypatch: pytest.MonkeyPatch):
    waits: list[float] = []
    monkeypatch.setattr(time, "sleep", waits.append)
    with pytest.raises(Unavailable, match=r"refused, tried 3 times\. `ratchet up`"):
        client(refused_url(), retry=Retry(num_tries=3, wait_s=0.2)).ask(Request(method, "/x"))
    assert len(waits) == 2 and 0.1 <= waits[0] <= 0.2 <= waits[1] <= 0.4, "with a part by chance"


def test_tries_are_bounded_and_the_last_answer_is_what_is_told(server: Server):
    server.play(answer(503, b'{"message": "no leader"}'))
    with pytest.raises(Unavailable, match=r"answered 503: no leader\. `ratchet up` starts it"):
        client(server.url).ask(Request("GET", "/x"))
    assert len(server.asked) == 3
    server.play(answer(503), answer(200))
    with pytest.raises(Unavailable):
        client(server.url).ask(Request("GET", "/x"), retry=ONCE)
    assert len(server.asked) == 1


def test_a_server_that_says_how_long_is_taken_at_its_word(server: Server):
    server.play(answer(429, retry_after="1"), answer(200))
    began_s = time.monotonic()
    client(server.url).ask(Request("GET", "/x"))
    assert time.monotonic() - began_s >= 1
    server.play(answer(503, retry_after="3600"))
    with pytest.raises(Unavailable):
        client(server.url).ask(Request("GET", "/x"))
    assert len(server.asked) == 1, "an hour is beyond the deadline"


def test_an_answer_that_stays_cut_is_unavailable(server: Server):
    server.play(cut)
    with pytest.raises(Unavailable, match=r"GET .*/x: .*tried 3 times"):
        client(server.url).ask(Request("GET", "/x"))


@pytest.mark.parametrize("act", [pour, answer(200, b"x" * 20_000), answer(500, b"x" * 20_000)])
def test_an_answer_has_a_size_limit_whatever_its_status(server: Server, act: Play):
    server.play(act)
    with pytest.raises(DataRejected, match=r"larger than the limit, 10,000 bytes.*RATCHET_SERVER_ENDPOINT"):
        client(server.url, body_bytes_max=10_000).send(Request("GET", "/x"))
    assert len(server.asked) == 1, "the next answer is as large"


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_carries_no_token_to_another_server(server: Server, status: int):
    other = Server().play(answer(200))
    try:
        server.play(answer(status, location=f"http://me:pw@{other.url.removeprefix('http://')}/login?state=abc"))
        with pytest.raises(SettingsError) as caught:
            client(server.url).ask(Request("GET", "/x"))
        assert other.asked == [] and f"it leads to {other.url}/login. " in str(caught.value)
        assert "Set RATCHET_SERVER_ENDPOINT" in str(caught.value)
    finally:
        other.close()


@pytest.mark.parametrize(
    ("status", "kind", "next_step"),
    [
        (400, DataRejected, "Correct the request"),
        (401, SettingsError, "Correct RATCHET_SERVER_TOKEN"),
        (403, SettingsError, "Correct RATCHET_SERVER_TOKEN"),
        (404, NotFound, "`ratchet status` lists them."),
        (409, Conflict, "Another process"),
        (412, Conflict, "Another process"),
        (413, DataRejected, "Correct the request"),
        (418, Unavailable, "`ratchet up` starts it."),
        (422, DataRejected, "Correct the request"),
        (429, Unavailable, "`ratchet up` starts it."),
        (500, Unavailable, "`ratchet up` starts it."),
        (507, Unavailable, "`ratchet up` starts it."),
    ],
)
def test_each_status_is_one_kind_of_error_and_names_the_next_step(
    server: Server, status: int, kind: type[RatchetError], next_step: str
):
    server.play(answer(status, b'{"detail": "because of this."}'))
    with pytest.raises(RatchetError) as caught:
        client(server.url).ask(Request("GET", "/x?page=2"))
    assert type(caught.value) is kind
    said = f"The server: GET {server.url}/x answered {status}: because of this. "
    assert str(caught.value).startswith(said) and next_step in str(caught.value)


@pytest.mark.parametrize(
    "body", [b"", b"<html>\n no </html>", b"\xff\xfe", b"[" * 100_000, b'{"message": null}', b"null"]
)
def test_an_error_page_of_any_form_is_told_in_short(server: Server, body: bytes):
    server.play(answer(404, body))
    with pytest.raises(NotFound) as caught:
        client(server.url).ask(Request("GET", "/x"))
    assert len(str(caught.value)) < 500 and "\n" not in str(caught.value)


def test_no_credential_is_in_an_error(server: Server):
    echo = answer(403, f'{{"message": "Bearer {TOKEN} is unknown"}}'.encode())
    server.play(echo)
    host = server.url.removeprefix("http://")
    for http, request in (
        (client(server.url), Request("GET", f"/x?token={TOKEN}")),
        (client(f"http://user:{TOKEN}@{host}"), Request("GET", "/x")),
        (client(server.url, token=""), Request("GET", "/x", headers={"authorization": f"Bearer {TOKEN}"})),
        (client(server.url, token=f"{TOKEN}\n"), Request("GET", "/x")),
        (client(server.url, token=f"ü{TOKEN}"), Request("GET", "/x")),
    ):
        with pytest.raises(SettingsError) as caught:
            http.ask(request)
        assert TOKEN not in str(caught.value) and "RATCHET_SERVER_TOKEN" in str(caught.value)
    with pytest.raises(SettingsError, match="RATCHET_SERVER_ENDPOINT is 'ftp://") as caught:
        client(f"ftp://user:{TOKEN}@{host}")
    assert TOKEN not in str(caught.value)


@pytest.mark.parametrize("endpoint", ["", "host:80", "http://", "unix:///run/s", "file:///etc/passwd", "http://a b"])
def test_an_endpoint_that_is_none_names_its_setting(endpoint: str):
    with pytest.raises(SettingsError, match="RATCHET_SERVER_ENDPOINT is"):
        client(endpoint)


def test_a_socket_without_a_path_is_none():
    with pytest.raises(SettingsError, match="or unix:///path"):
        client("unix://", takes_sockets=True)


@pytest.mark.parametrize("endpoint", ["http://host:port", "http://[::1", "http://host:99999999"])
def test_an_endpoint_that_httpx_does_not_take_names_its_setting(endpoint: str):
    with pytest.raises((SettingsError, Unavailable), match=r"RATCHET_SERVER_ENDPOINT|not available"):
        client(endpoint, retry=ONCE).ask(Request("GET", "/x"))


def test_what_is_asked_arrives_as_it_was_meant(server: Server):
    server.play(answer(200))
    http = client(server.url + "/prefix/")
    http.get_json("/x?a=1")
    http.get_json("/x", query={"b": "ä&="})
    assert server.asked == ["GET /prefix/x?a=1", "GET /prefix/x?b=%C3%A4%26%3D"]
    assert server.seen[0]["authorization"] == f"Bearer {TOKEN}" and server.seen[0]["accept-encoding"] == "identity"


def test_an_answer_that_is_not_json_is_unavailable(server: Server):
    server.play(answer(200, b"<html>Sign in</html>"))
    with pytest.raises(Unavailable, match="answered 200 with '<html>Sign in</html>', which is not JSON"):
        client(server.url).get_json("/x")


def test_the_environments_proxies_are_not_used(server: Server, monkeypatch: pytest.MonkeyPatch):
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, refused_url())
    server.play(answer(200))
    assert client(server.url).ask(Request("GET", "/x")).is_success


def test_a_given_proxy_is_asked(server: Server):
    server.play(answer(200))
    client("http://unresolvable.invalid", proxy=server.url).ask(Request("GET", "/x"))
    assert server.asked == ["GET http://unresolvable.invalid/x"]


def test_a_socket_is_an_endpoint_too(tmp_path: Path):
    path = str(tmp_path / "s.sock")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(path)
        listening.listen()

        def serve() -> None:
            connection, _ = listening.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}")

        threading.Thread(target=serve, daemon=True).start()
        assert client(f"unix://{path}", takes_sockets=True).get_json("/stats") == {}


def test_a_certificate_counts_only_by_the_trust_that_is_given(tmp_path: Path):
    ca = issue("own-ca")
    with tls_server(issue("api", by=ca, host="127.0.0.1"), tmp_path) as tls:
        client(tls.url, trust=Trust(ca.certificate_pem, "the test's CA")).ask(Request("GET", "/x"))
        assert tls.seen == [f"Bearer {TOKEN}"]
        with pytest.raises(SettingsError, match="issuer CN=own-ca"):
            client(tls.url, trust=Trust(issue("another").certificate_pem, "a CA")).ask(Request("GET", "/x"))
        with pytest.raises(Unavailable, match=r"(?i)certificate"):
            client(tls.url).ask(Request("GET", "/x"))
        assert len(tls.seen) == 1, "the token is shown to no server that is not trusted"


def test_threads_share_a_client_and_its_connections(server: Server):
    server.play(answer(200))
    http, failed = client(server.url), []

    def ask() -> None:
        try:
            for _ in range(5):
                http.ask(Request("GET", "/x"))
        except Exception as error:
            failed.append(error)

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed and len(server.asked) == 40
    http.close()
    http.ask(Request("GET", "/x"))
