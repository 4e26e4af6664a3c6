"""The main job, as a user runs it: four acts on real servers, checked from the outside by the demo itself."""

import json
import os
import subprocess
import sys

import pytest


@pytest.mark.e2e
@pytest.mark.timeout(900)
def test_every_act_ends_as_told(tmp_path):
    env = {**os.environ, "RATCHET_STATE_DIR": str(tmp_path / ".ratchet")}
    command = [sys.executable, "-m", "ratchet", "demo", "--stop", "--json"]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=800, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    summary = json.loads(done.stdout)
    failed = [check["text"] for check in summary["checks"] if not check["passed"]]
    assert summary["went_as_told"] and not failed
    assert set(summary["acts_s"]) == {"a", "b", "c", "d"}
    assert summary["num_requests"] > 1000
