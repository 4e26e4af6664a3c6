"""`ratchet up | status | logs | doctor` as a user types them."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from ratchet.settings import Settings, child_env
from tests.conftest import PROJECT_DIR

RATCHET = Path(sys.executable).with_name("ratchet")
SERVICES = ["object_store", "mlflow", "gateway", "control_plane", "sensor", "guard"]
RSS_MIB_MAX = 3 * 1024


def ratchet(*arguments: str, state_dir: Path, **variables: str) -> "subprocess.CompletedProcess[str]":
    env = child_env({"RATCHET_STATE_DIR": str(state_dir), **variables})
    return subprocess.run([RATCHET, *arguments], env=env, cwd=PROJECT_DIR, capture_output=True, text=True, timeout=120)


def test_status_names_every_endpoint_and_server(stack: Settings) -> None:
    run = ratchet("status", "--json", state_dir=stack.state_dir)
    status = json.loads(run.stdout)
    assert run.returncode == 0
    assert set(status["endpoints"]) == {"kfp", "kubernetes", "mlflow", "s3", "gateway", "sensor"}
    assert [service["name"] for service in status["services"]] == SERVICES
    assert all(service["state"] == "ready" for service in status["services"])
    assert 0 < status["rss_mib"] < RSS_MIB_MAX


def test_up_again_says_that_it_is_up(stack: Settings) -> None:
    run = ratchet("up", state_dir=stack.state_dir)
    assert run.returncode == 0
    assert "already up" in run.stderr
    assert stack.gateway_endpoint in run.stdout


def test_nothing_shows_a_secret(stack: Settings) -> None:
    shown = "".join(
        ratchet(*arguments, state_dir=stack.state_dir).stdout
        for arguments in (("status", "--json"), ("doctor", "--json"), ("doctor",), ("logs", "--lines", "100000"))
    )
    assert stack.s3_secret_key.get_secret_value() not in shown
    assert stack.kubernetes_token.get_secret_value() not in shown


def test_doctor_finds_nothing_wrong(stack: Settings) -> None:
    run = ratchet("doctor", "--json", state_dir=stack.state_dir)
    assert [check for check in json.loads(run.stdout)["checks"] if not check["is_fine"]] == []
    assert run.returncode == 0


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        pytest.param({"RATCHET_S3_SECRET_KEY": "guess"}, "refuses RATCHET_S3_SECRET_KEY", id="wrong-secret-key"),
        pytest.param({"RATCHET_KUBERNETES_TOKEN": "guess"}, "refuses RATCHET_KUBERNETES_TOKEN", id="wrong-token"),
        pytest.param({"RATCHET_S3_ENDPONT": "x"}, "Did you mean RATCHET_S3_ENDPOINT", id="unknown-name"),
        pytest.param(
            {"RATCHET_MLFLOW_ENDPOINT": "http://127.0.0.1:1"}, "unset RATCHET_MLFLOW_ENDPOINT", id="stale-url"
        ),
    ],
)
def test_doctor_names_what_is_wrong(stack: Settings, variables: dict[str, str], said: str) -> None:
    run = ratchet("doctor", "--json", state_dir=stack.state_dir, **variables)
    wrong = [
        f"{check['detail']} | {check['fix']}" for check in json.loads(run.stdout)["checks"] if not check["is_fine"]
    ]
    assert run.returncode == 1
    assert any(said in line for line in wrong), wrong


def test_logs_of_one_server_and_of_none(stack: Settings) -> None:
    assert "object_store: ready" in ratchet("logs", "supervisor", state_dir=stack.state_dir).stdout
    unknown = ratchet("logs", "nobody", state_dir=stack.state_dir)
    assert unknown.returncode == 7
    assert "it has: control_plane" in unknown.stderr


@pytest.mark.parametrize(
    ("command", "code", "said"),
    [
        pytest.param("status", 1, "not running; start it with `ratchet up`", id="status"),
        pytest.param("down", 0, "Not running.", id="down"),
        pytest.param("logs", 7, "`ratchet up` creates them", id="logs"),
    ],
)
def test_without_a_stack_each_command_says_what_to_do(tmp_path: Path, command: str, code: int, said: str) -> None:
    run = ratchet(command, state_dir=tmp_path / "none")
    assert (run.returncode, said in run.stderr) == (code, True), run.stderr
    assert not (tmp_path / "none").exists(), "asking makes nothing"


def test_up_refuses_a_mistyped_setting_before_it_starts_anything(tmp_path: Path) -> None:
    run = ratchet("up", state_dir=tmp_path / "none", RATCHET_SENSOR_INTERVAL="1")
    assert run.returncode == 5
    assert "Did you mean RATCHET_SENSOR_INTERVAL_S?" in run.stderr
    assert not (tmp_path / "none").exists()


def test_up_where_nobody_may_write_says_which_setting_to_change() -> None:
    run = ratchet("up", state_dir=Path("/proc/ratchet"))
    assert run.returncode == 5
    assert "RATCHET_STATE_DIR" in run.stderr
