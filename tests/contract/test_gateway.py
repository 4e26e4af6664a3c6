"""ports.Gateway: the fake of the rollout tests, and the adapter in front of a small server."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from embedded.control_plane.host.processes import free_port
from ratchet.actions.rollout.traffic import serve
from ratchet.adapters.gateway import HttpGateway
from ratchet.core.errors import Unavailable
from ratchet.core.ports import Gateway
from ratchet.settings import Settings
from tests.components.rollout_world import CHAMPION, TASK, World


class _Split(BaseHTTPRequestHandler):
    """Every tenth answer is the canary's; the stable one's gateway names no revision, as on Knative."""

    protocol_version = "HTTP/1.1"
    num_asked = 0

    def do_GET(self) -> None:
        _Split.num_asked += 1
        self.send_response(200 if self.path == f"/v2/models/{TASK}/ready" else 404)
        if self.path.startswith("/v2/models/silent"):
            pass
        elif _Split.num_asked % 10 == 0:
            self.send_header("x-ratchet-revision", "digits-predictor-00002")
            self.send_header("x-ratchet-model", "new")
        else:
            self.send_header("x-ratchet-model", "old")
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Split)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()


def world() -> World:
    world = World()
    serve(world, world, task=TASK, uri=CHAMPION.uri, timeout_s=60)
    return world


def test_it_names_all_who_answer(url: str) -> None:
    gateways: tuple[tuple[Gateway, set[str]], ...] = (
        (HttpGateway(Settings(gateway_endpoint=url)), {"digits-predictor-00002", "new", "old"}),
        (world(), {"digits-predictor-00001"}),
    )
    for gateway, names in gateways:
        assert gateway.fetch_answerers(TASK, num_requests=20) == names


def test_a_gateway_that_cannot_be_asked_says_where_it_was(url: str) -> None:
    with pytest.raises(Unavailable, match="/v2/models/digits/ready"):
        HttpGateway(Settings(gateway_endpoint=f"http://127.0.0.1:{free_port()}")).fetch_answerers(TASK, num_requests=2)


def test_answers_without_a_name_prove_nothing(url: str) -> None:
    with pytest.raises(Unavailable, match="x-ratchet-model"):
        HttpGateway(Settings(gateway_endpoint=url)).fetch_answerers("silent", num_requests=2)
