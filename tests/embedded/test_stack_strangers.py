"""Who may do what on one machine: another local user without a token, a web page, and the owner's own clients."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from ratchet.settings import Settings, child_env
from tests.conftest import PROJECT_DIR


def ask(settings: Settings, server: str, request: str, **given: Any) -> int:
    """The status of one request; request: method and path."""
    method, path = request.split(" ", 1)
    url = f"{getattr(settings, f'{server}_endpoint')}{path}"
    return httpx.request(method, url, timeout=10, trust_env=False, **given).status_code


ATTACKS = (
    ("kfp", "POST /apis/v2beta1/runs"),
    ("kfp", "POST /apis/v2beta1/recurringruns"),
    ("kfp", "POST /apis/v2beta1/pipelines/upload?name=x"),
    ("kfp", "GET /apis/v2beta1/runs"),
    ("kfp", "GET /%61pis/v2beta1/runs"),
    ("mlflow", "GET /api/2.0/mlflow/experiments/get?experiment_id=0"),
    ("mlflow", "POST /api/2.0/mlflow/registered-models/delete"),
    ("mlflow", "GET /"),
    ("mlflow", "GET /version"),
    ("sensor", "GET /status"),
    ("sensor", "POST /tick?task=digits"),
    ("sensor", "POST /events"),
    ("guard", "GET /status"),
    ("guard", "GET /space"),
    ("guard", "POST /v1/feedback"),
    ("kubernetes", "GET /apis/serving.kserve.io/v1beta1/namespaces/default/inferenceservices"),
)


@pytest.mark.parametrize(
    "header", [{}, {"Authorization": "Bearer guess"}, {"Authorization": "Basic cmF0Y2hldDpndWVzcw=="}]
)
def test_a_caller_without_the_token_is_turned_away_everywhere(stack: Settings, header: dict[str, str]) -> None:
    answers = {attack: ask(stack, *attack, headers=header) for attack in ATTACKS}
    assert set(answers.values()) == {401}, answers


def test_the_unmodified_clients_of_a_shell_that_sourced_the_profile_are_let_in(stack: Settings, tmp_path: Path) -> None:
    folder = Path(sys.executable).parent
    commands = f'"{folder}/kfp" experiment list && "{folder}/mlflow" experiments search'
    script = f'set -a; . "{stack.state_dir}/profile.env"; set +a; {commands}'
    env = child_env({"HOME": str(tmp_path), "PATH": os.environ["PATH"]})
    done = subprocess.run(["sh", "-c", script], env=env, cwd=PROJECT_DIR, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0 and done.stdout.count("Default") == 2, done.stderr


SERVERS = ("kfp", "mlflow", "sensor", "guard")
HEALTH = {"kfp": "/healthz", "mlflow": "/health", "sensor": "/healthz", "guard": "/healthz"}
PAGES = (
    {"Host": "evil.example"},
    {"Host": "evil.example:18900"},
    {"Host": "["},
    {"Host": "127.0.0.1.evil.example"},
    {"Origin": "https://evil.example"},
    {"Origin": "null"},
)


@pytest.mark.parametrize("server", SERVERS)
def test_a_web_page_is_turned_away_also_where_no_token_is_asked_for(stack: Settings, server: str) -> None:
    health = f"GET {HEALTH[server]}"
    assert ask(stack, server, health) == 200
    answers = {str(page): ask(stack, server, health, headers=page) for page in PAGES}
    assert set(answers.values()) == {403}, answers


def test_feedback_at_the_gateway_is_for_programs_and_needs_no_token(stack: Settings) -> None:
    truth = '{"task": "digits", "feedback": []}'
    own = {"content-type": "application/json"}
    post = "POST /v1/feedback"
    wait_until(lambda: ask(stack, "gateway", post, content=truth, headers=own) not in (401, 404, 503))
    assert ask(stack, "gateway", post, content=truth, headers=own) in (202, 400), "the guard read it"
    assert ask(stack, "gateway", post, content=truth, headers={"content-type": "text/plain"}) == 415
    for page in ({"Origin": "https://evil.example"}, {"Host": "evil.example"}):
        assert ask(stack, "gateway", post, content=truth, headers={**own, **page}) == 403


def test_a_request_that_trickles_in_loses_its_connection_to_the_gateway(stack: Settings) -> None:
    host, port = stack.gateway_endpoint.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=30) as connection:
        connection.sendall(b"GET /v1/models HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Slow: ")
        said = connection.recv(1000)
    assert not said or b" 408 " in said.partition(b"\r\n")[0], said


def wait_until(is_done: Callable[[], bool], *, within_s: float = 20) -> None:
    deadline = time.monotonic() + within_s
    while not is_done():
        assert time.monotonic() < deadline, f"not within {within_s} s"
        time.sleep(0.1)
