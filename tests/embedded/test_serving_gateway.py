"""What the gateway lets through: paths in every spelling, and bodies up to the size that can be sent again."""

import http.client
import json
from collections.abc import Iterator

import pytest

from ratchet.settings import Settings
from tests.embedded.serving_world import ServingWorld, serving_world, wait_for

pytestmark = pytest.mark.stack
LIMIT = 4 * 1024 * 1024


@pytest.fixture(scope="module")
def world(s3_settings: Settings) -> Iterator[ServingWorld]:
    with serving_world(s3_settings) as world:
        world.services.deploy("gate", world.put_model("gate"), canary_traffic_pct=None)
        world.wait_traffic("gate", {"00001": 100})
        wait_for(lambda: world.answers("gate", 1) == {"gate": 1}, "the gateway to route")
        yield world


def ask(world: ServingWorld, path: str, body: bytes = b"{}", **headers: str) -> tuple[int, dict]:
    """The path exactly as written: an ordinary client would tidy it up first."""
    connection = http.client.HTTPConnection("127.0.0.1", world.gateway_port, timeout=20)
    try:
        connection.request("POST", path, body=body, headers=headers)
        response = connection.getresponse()
        text = response.read()
        return response.status, json.loads(text) if text.startswith(b"{") else {}
    finally:
        connection.close()


@pytest.mark.parametrize(
    "path",
    [
        "/v2/repository/models/gate/unload",
        "/v2//repository/models/gate/unload",
        "//v2/repository/models/gate/unload",
        "/v2/./repository/models/gate/unload",
        "/v2/models/../repository/models/gate/unload",
        "/v2/models/gate/../../repository/models/gate/unload",
        "/v2/models/gate/%2e%2e/%2E%2E/repository/models/gate/unload",
        "/v2/%72epository/models/gate/unload",
        "/v2\\repository\\models\\gate\\unload",
        "/v2/models/gate/..%2f..%2frepository/models/gate/unload",
        "/v2%2Frepository/models/gate/unload",
        "/v2/models/gate/..%5c..%5crepository/index",
    ],
)
def test_no_spelling_of_the_repository_reaches_a_model_server(world, path):
    """403 by the rule on /v2/repository; 400 for escaped slashes, which no path of the protocols has. The tiny model
    answers every POST with 200, so anything that got through would show."""
    status, _ = ask(world, path)
    assert status in {400, 403}, status


@pytest.mark.parametrize("path", ["/v1/models/gate:predict", "/v1//models/./gate:predict", "/v2/models/gate/infer"])
def test_a_path_that_is_only_untidy_is_answered(world, path):
    assert ask(world, path)[0] == 200


def test_a_model_that_spells_another_path_stays_unknown(world):
    assert ask(world, "/v2/models/nobody/infer")[0] == 404
    assert ask(world, "/v2/models/gate%252f..%252frepository")[0] == 404


def chunks(num_bytes: int) -> Iterator[bytes]:
    for _ in range(num_bytes // 65_536):
        yield b"x" * 65_536


@pytest.mark.parametrize(
    ("num_bytes", "status"),
    [
        pytest.param(LIMIT - 65_536, 200, id="below"),
        pytest.param(LIMIT, 200, id="at-the-limit"),
        pytest.param(LIMIT + 1, 413, id="one-byte-over"),
        pytest.param(4 * LIMIT, 413, id="far-over"),
    ],
)
def test_a_body_that_could_not_be_sent_again_is_refused_with_the_limit_in_the_answer(world, num_bytes, status):
    response = world.user.post("/v1/models/gate:predict", content=b"x" * num_bytes)
    assert response.status_code == status
    if status == 413:
        assert response.json()["error"].startswith(f"the request body is larger than {LIMIT} bytes")


def test_a_body_of_unknown_length_is_counted_too(world):
    response = world.user.post("/v1/models/gate:predict", content=chunks(2 * LIMIT))
    assert response.status_code == 413 and str(LIMIT) in response.json()["error"]
