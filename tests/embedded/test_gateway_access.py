"""Tokens, rates and sizes at the real gateway: Envoy with our bootstrap, and a route that answers at once."""

import base64
import json
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from jwt.algorithms import ECAlgorithm

from embedded.control_plane.host.processes import free_port
from embedded.gateway import envoy_binary, render_bootstrap, write_gateway_files
from embedded.layout import Layout
from embedded.ports import StackPorts
from ratchet.settings import Settings
from tests.embedded.serving_world import wait_for

ISSUER = "https://issuer.example.com/100%"
PREDICT = "/v1/models/digits:predict"
KEY, OTHER_KEY = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
SECRET = "x" * 32
BURST, RATE_PER_S = 3, 0.5


def jwk(key: ec.EllipticCurvePrivateKey, kid: str) -> dict[str, Any]:
    return {**json.loads(ECAlgorithm.to_jwk(key.public_key())), "kid": kid, "alg": "ES256"}


def secret_jwk() -> dict[str, Any]:
    return {"kty": "oct", "k": base64.urlsafe_b64encode(SECRET.encode()).decode(), "kid": "secret", "alg": "HS256"}


def token(key: Any = KEY, *, kid: str = "first", alg: str = "ES256", without: str = "", **claims: Any) -> str:
    all_claims = {"iss": ISSUER, "aud": "ratchet", "sub": "anna", "exp": time.time() + 600, **claims}
    return jwt.encode({n: v for n, v in all_claims.items() if n != without}, key, algorithm=alg, headers={"kid": kid})


def unsigned() -> str:
    parts = ({"alg": "none", "kid": "first"}, {"iss": ISSUER, "aud": "ratchet", "exp": time.time() + 600})
    return ".".join(base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in parts) + "."


class Door:
    """A gateway with these settings alone: every path is answered 200, `/refused` 403 by its route."""

    def __init__(self, folder: Path, settings: Settings, *, kept_s: int = 60) -> None:
        self.layout, self.port = Layout(state_dir=folder), free_port()
        self._settings, self._kept_s, self._admin = settings, kept_s, folder / "admin.sock"

    def __enter__(self) -> httpx.Client:
        ports = StackPorts(gateway=self.port, guard=free_port())
        write_gateway_files(self.layout, self._settings, ports=ports, admin_socket=self._admin)
        bootstrap = render_bootstrap(self.layout, self._settings, ports=ports, admin_socket=self._admin)
        # Keys are kept for a minute: a test of what comes after would take one.
        text = json.dumps(bootstrap).replace('"cache_duration": "60s"', f'"cache_duration": "{self._kept_s}s"')
        (self.layout.gateway / "bootstrap.json").write_text(text)
        self._write_routes()
        self.layout.log_of("x").parent.mkdir()
        options = ("--concurrency", "1", "--disable-hot-restart", "--log-level", "error")
        command = [str(envoy_binary()), "-c", str(self.layout.gateway / "bootstrap.json"), *options]
        self._process = subprocess.Popen(command)
        self.client = httpx.Client(base_url=f"http://127.0.0.1:{self.port}", timeout=10)
        wait_for(lambda: self.client.get("/v2/models/digits/ready").status_code == 200, "the gateway to listen")
        return self.client

    def __exit__(self, *_: object) -> None:
        self.client.close()
        self._process.terminate()
        self._process.wait(timeout=10)

    def _write_routes(self) -> None:
        path = self.layout.xds / "rds.json"
        routes = json.loads(path.read_text())
        replies = [({"path": "/refused"}, 403, "not for users"), ({"prefix": "/"}, 200, "answered")]
        routes["resources"][0]["virtual_hosts"][0]["routes"] = [
            {"match": match, "direct_response": {"status": status, "body": {"inline_string": text}}}
            for match, status, text in replies
        ]
        path.write_text(json.dumps(routes))


def settings_with(folder: Path, **more: Any) -> Settings:
    keys = folder / "keys.json"
    keys.write_text(json.dumps({"keys": [jwk(KEY, "first")]}))
    return Settings(access_issuer=ISSUER, access_jwks=str(keys), **more)


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    folder = tmp_path_factory.mktemp("door")
    settings = settings_with(
        folder, access_rate_per_s=RATE_PER_S, access_burst=BURST, access_request_bytes_max=1000, access_leeway_s=60
    )
    # As an issuer's URL might serve it; a file with it is refused at the start.
    (folder / "keys.json").write_text(json.dumps({"keys": [jwk(KEY, "first"), secret_jwk()]}))
    door = Door(folder, settings)
    with door as client:
        wait_for(lambda: post(client, token(sub="ready")).status_code != 401, "the gateway to read the keys")
        yield door


@pytest.fixture
def client(door: Door) -> httpx.Client:
    return door.client


def post(client: httpx.Client, bearer: str = "", path: str = PREDICT, **more: Any) -> httpx.Response:
    return client.post(path, headers={"authorization": f"Bearer {bearer}"} if bearer else {}, **more)


NOW = time.time()
BAD_TOKENS = {
    "none-at-all": ("", 401, "Jwt is missing"),
    "no-jwt": ("abc", 401, "Jwt is not in the form"),
    "expired": (token(exp=NOW - 100), 401, "expired"),
    "not-yet-valid": (token(nbf=NOW + 100_000), 401, "not yet valid"),
    "for-another-audience": (token(aud="billing"), 403, "Audiences"),
    "without-audience": (token(without="aud"), 403, "Audiences"),
    "of-another-issuer": (token(iss="https://else.example.com"), 401, "issuer"),
    "without-issuer": (token(without="iss"), 401, "issuer"),
    "without-an-end": (token(without="exp"), 401, "verification fails"),
    "signed-by-another-key": (token(OTHER_KEY), 401, "verification fails"),
    "unknown-key": (token(OTHER_KEY, kid="next"), 401, "kid"),
    "unsigned": (unsigned(), 401, "Jwt"),
    "signed-with-a-secret-of-the-key-set": (token(SECRET, kid="secret", alg="HS256"), 401, "private key"),
    "signed-with-a-secret-by-the-name-of-a-key": (token(SECRET, alg="HS256"), 401, "Jwt"),
}


@pytest.mark.parametrize(("bearer", "status", "why"), BAD_TOKENS.values(), ids=BAD_TOKENS)
@pytest.mark.parametrize("path", [PREDICT, "/v1/feedback", "/v2/models/digits/infer", "/v2/models/digits"])
def test_a_request_without_a_good_token_is_refused_with_the_reason(
    client: httpx.Client, bearer: str, status: int, why: str, path: str
) -> None:
    answer = post(client, bearer, path)
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/json")
    error = answer.json()["error"]
    assert why in error and ISSUER in error and "Authorization: Bearer" in error
    assert answer.headers["www-authenticate"].startswith('Bearer realm="ratchet"')
    assert ("invalid_token" in answer.headers["www-authenticate"]) == bool(bearer)


@pytest.mark.parametrize("bearer", [token(sub="new"), token(sub="late", exp=NOW - 20), token(aud=["a", "ratchet"])])
def test_a_good_token_is_let_through_and_one_within_the_leeway(client: httpx.Client, bearer: str) -> None:
    assert post(client, bearer).text == "answered"


def test_readiness_is_open_and_nothing_else(client: httpx.Client) -> None:
    for path in ("/v2/models/digits/ready", "/v1/models/digits", "/v2//models/x/../digits/ready"):
        assert client.get(path).status_code == 200
    for path in ("/v2/models/digits/ready/x", "/v2/models/a/b/ready", "/v1/models/digits:predict", "/", "/v2"):
        assert client.get(path).status_code == 401, path


def test_a_token_in_the_query_is_none_and_is_repeated_nowhere(client: httpx.Client, door: Door) -> None:
    bearer = token(sub="query")
    answer = client.post(f"{PREDICT}?access_token={bearer}")
    assert answer.status_code == 401
    assert bearer not in answer.text and bearer not in str(answer.headers)
    log = door.layout.log_of("gateway_failures")
    wait_for(lambda: "Jwt_is_missing" in log.read_text(), "the gateway to log the refusal")
    assert bearer not in log.read_text() and "access_token" not in log.read_text()


def test_a_route_keeps_its_own_refusal(client: httpx.Client) -> None:
    answer = post(client, token(sub="refused"), "/refused")
    assert (answer.status_code, answer.text) == (403, "not for users")


def test_a_client_beyond_its_rate_is_told_when_to_come_back_and_no_other_is_held_back(client: httpx.Client) -> None:
    answers = [post(client, token(sub="busy")) for _ in range(BURST + 2)]
    assert [answer.status_code for answer in answers] == [200] * BURST + [429] * 2
    assert answers[-1].headers["retry-after"] == "2"
    assert "0.5 requests per second" in answers[-1].json()["error"]
    assert post(client, token(sub="calm")).status_code == 200
    assert all(client.get("/v2/models/digits/ready").status_code == 200 for _ in range(2 * BURST))


def test_tokens_without_a_subject_share_one_rate(client: httpx.Client) -> None:
    answers = [post(client, token(without="sub", jti=str(each))) for each in range(BURST + 1)]
    assert answers[-1].status_code == 429


def test_a_body_over_the_limit_is_refused(client: httpx.Client) -> None:
    answer = post(client, token(sub="large"), content=b"x" * 1001)
    assert answer.status_code == 413 and "1000 bytes" in answer.json()["error"]


def test_a_new_key_in_the_file_counts_by_itself(tmp_path: Path) -> None:
    settings = settings_with(tmp_path)
    with Door(tmp_path, settings, kept_s=1) as client:
        assert post(client, token(OTHER_KEY, kid="next")).status_code == 401
        replaced = tmp_path / "new.json"
        replaced.write_text(json.dumps({"keys": [jwk(OTHER_KEY, "next")]}))
        replaced.rename(tmp_path / "keys.json")
        wait_for(lambda: post(client, token(OTHER_KEY, kid="next")).status_code == 200, "the new key to count")
        assert post(client, token()).status_code == 401, "the old one does not any more"


def test_keys_that_cannot_be_fetched_are_the_issuers_fault_not_the_tokens(tmp_path: Path) -> None:
    url = f"http://127.0.0.1:{free_port()}/jwks.json"
    with Door(tmp_path, Settings(access_issuer=ISSUER, access_jwks=url)) as client:
        answer = post(client, token())
    assert answer.status_code == 503 and url in answer.json()["error"] and answer.headers["retry-after"]


def test_without_tokens_an_address_has_the_rate(tmp_path: Path) -> None:
    with Door(tmp_path, Settings(access_rate_per_s=1, access_burst=2)) as client:
        assert [post(client).status_code for _ in range(3)] == [200, 200, 429]
