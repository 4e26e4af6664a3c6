"""Who may do what on one machine: another local user without a token, a web page, and the owner's own clients."""

import os
import subprocess
import sys
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
    ("kubernetes", "GET /apis/serving.kserve.io/v1beta1/namespaces/default/inferenceservices"),
)


@pytest.mark.parametrize(
    "header", [{}, {"Authorization": "Bearer guess"}, {"Authorization": "Basic cmF0Y2hldDpndWVzcw=="}]
)
def test_a_caller_without_the_token_is_turned_away_everywhere(stack: Settings, header: dict[str, str]) -> None:
    answers = {attack: ask(stack, *attack, headers=header) for attack in ATTACKS}
    assert set(answers.values()) == {401}, answers


def test_the_unmodified_clients_of_a_shell_that_sourced_the_profile_are_let_in(stack: Settings, tmp_path: Path) -> None:
    kfp = Path(sys.executable).with_name("kfp")
    script = f'set -a; . "{stack.state_dir}/profile.env"; set +a; "{kfp}" experiment list'
    env = child_env({"HOME": str(tmp_path), "PATH": os.environ["PATH"]})
    done = subprocess.run(["sh", "-c", script], env=env, cwd=PROJECT_DIR, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and "Default" in done.stdout, done.stderr
