"""The main job, as a user runs it who has no checkout: `pip install`, then four acts on real servers in a folder of its
own, then a look around with the real clients, then undo."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from ratchet.settings import Settings, child_env
from tests.conftest import settings_in
from tests.installed import install_wheel

BIN = Path(sys.executable).parent
pytestmark = [pytest.mark.e2e, pytest.mark.whole, pytest.mark.timeout(1200)]


class Stage:
    """Where the demo ran: its stack is still up. ratchet: the command as a wheel installed it."""

    def __init__(self, state_dir: Path, ratchet: Path) -> None:
        self.state_dir = state_dir
        self.ratchet = ratchet
        self.summary: dict = {}

    @property
    def settings(self) -> Settings:
        return settings_in(self.state_dir)

    def run(self, *command: str, timeout_s: float = 120) -> subprocess.CompletedProcess[str]:
        profile = self.state_dir / "profile.env"
        clients = self.settings.client_env() if profile.exists() else {}  # as a shell that sourced the profile
        env = child_env({"RATCHET_STATE_DIR": str(self.state_dir), "HOME": str(self.state_dir.parent), **clients})
        program = self.ratchet if command[0] == "ratchet" else BIN / command[0]
        return subprocess.run(
            [str(program), *command[1:]],
            env=env,
            cwd=self.state_dir.parent,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )

    def json_of(self, *command: str) -> list[dict]:
        done = self.run(*command, "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    folder = tmp_path_factory.mktemp("demo")
    stage = Stage(folder / ".ratchet", install_wheel(tmp_path_factory.mktemp("installed")))
    try:
        done = stage.run("ratchet", "demo", "--json", timeout_s=900)
        assert done.returncode == 0, done.stdout + done.stderr
        stage.summary = json.loads(done.stdout)
        yield stage
    finally:
        stage.run("ratchet", "down")


def test_every_act_ends_as_told(told):
    failed = [check["text"] for check in told.summary["checks"] if not check["passed"]]
    assert told.summary["went_as_told"] and not failed
    assert set(told.summary["acts_s"]) == {"a", "b", "c", "d"}
    assert told.summary["num_requests"] > 1000
    assert told.summary["resident_mib_max"] > 0


def test_the_unmodified_kfp_command_shows_pipelines_and_runs(told):
    listed = told.run("kfp", "pipeline", "list")
    assert {"retrain", "rollback"} <= set(listed.stdout.split()), listed.stderr
    runs = told.run("kfp", "run", "list")
    assert runs.stdout.count("SUCCEEDED") == 4, runs.stdout


def test_history_says_who_was_champion_when_and_why(told):
    entries = told.json_of("ratchet", "models", "history", "digits")
    assert [(entry["kind"], entry["model"]["version"]) for entry in entries] == [
        ("promoted", "1"),
        ("promoted", "2"),
        ("rolled_back", "3"),
    ]
    assert all(entry["reason"] and entry["at"] for entry in entries)


def test_feedback_at_the_gateway_becomes_accuracy(told):
    gateway = told.settings.gateway_endpoint
    asked = httpx.post(f"{gateway}/v1/models/digits:predict", json={"instances": [[8.0] * 64]}, timeout=20)
    said = asked.raise_for_status().json()["predictions"][0]["label"]
    truth = {"task": "digits", "feedback": [{"request_id": asked.headers["x-request-id"], "label": said}]}
    assert httpx.post(f"{gateway}/v1/feedback", json=truth, timeout=20).status_code == 202
    deadline = time.monotonic() + 20
    while not (shown := json.loads(told.run("ratchet", "feedback", "show", "--task", "digits", "--json").stdout))[
        "models"
    ]:
        assert time.monotonic() < deadline, shown
        time.sleep(0.5)
    assert (shown["models"][0]["model"], shown["models"][0]["num_right"]) == (asked.headers["x-ratchet-model"], 1)


def test_the_guard_watches_the_champion(told):
    (seen,) = told.json_of("ratchet", "guard", "status")
    assert (seen["task"], seen["champion"]) == ("digits", "2")
    assert seen["outcome"] in {"learning", "well"}


def test_the_rollback_pipeline_gives_the_traffic_back_to_the_previous_champion(told):
    """Last on purpose: it changes what the others look at."""
    import kfp

    client = kfp.Client(host=told.settings.kfp_endpoint, existing_token=told.settings.kfp_token.get_secret_value())
    experiment = client.create_experiment("digits")
    pipeline_id = client.get_pipeline_id("rollback")
    (version, *_) = client.list_pipeline_versions(pipeline_id, sort_by="created_at desc").pipeline_versions
    run = client.run_pipeline(
        experiment.experiment_id,
        "undo",
        pipeline_id=pipeline_id,
        version_id=version.pipeline_version_id,
        params={"task": "digits", "reason": "a person asked"},
    )
    assert client.wait_for_run_completion(run.run_id, timeout=120, sleep_duration=1).state == "SUCCEEDED"
    newest = told.json_of("ratchet", "models", "history", "digits")[-1]
    assert (newest["kind"], newest["champion"]["version"], newest["reason"]) == ("rolled_back", "1", "a person asked")
    rows = told.json_of("ratchet", "models", "list", "digits")
    assert "champion" in next(row["aliases"] for row in rows if row["version"] == "1")
