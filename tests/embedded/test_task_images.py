"""RATCHET_TASK_RUNTIME=oci: tasks in their own images. A stand-in for the engine tells what is asked of it."""

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import kfp
import pytest

from embedded.control_plane.__main__ import parse_arguments
from embedded.control_plane.errors import SettingsError
from embedded.control_plane.host.container_engine import find_container_engine
from tests.embedded import kfp_cluster_constructs as constructs
from tests.embedded.kfp_server import KfpServer, run_pipeline

_STAND_IN = """#!{python}
import json, os, shutil, subprocess, sys
calls = os.path.join({folder!r}, "calls.jsonl")
with open(calls, "a") as file:
    file.write(json.dumps(sys.argv[1:]) + chr(10))
action, *rest = sys.argv[1:]
if action == "run":
    at = rest.index("--entrypoint")
    entry_point, image, *words = rest[at + 1:]
    sys.exit(subprocess.run([entry_point, *words]).returncode)
if action == "cp":
    shutil.copytree(rest[0].partition(":")[2], rest[1], dirs_exist_ok=True)
if action == "info":
    print("{{}}")
"""
"""Runs the command without its image, and notes down what it was asked."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("images")


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[KfpServer]:
    program = folder / "bin" / "podman"
    program.parent.mkdir()
    program.write_text(_STAND_IN.format(python=sys.executable, folder=str(folder)))
    program.chmod(0o755)
    server = KfpServer(folder, options={"--task-runtime": "oci"})
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
        server.start()
    yield server
    server.stop()


def calls_of(folder: Path, action: str) -> list[list[str]]:
    calls = [json.loads(line) for line in (folder / "calls.jsonl").read_text().splitlines()]
    return [call for call in calls if call[0] == action]


def test_image_is_run_with_folders_and_without_secrets_in_the_argv(
    server: KfpServer, client: kfp.Client, folder: Path, tmp_path: Path
) -> None:
    run_id = run_pipeline(client, constructs.secret_and_files, tmp_path)
    run = server.wait_for(run_id)
    assert run["state"] == "SUCCEEDED", run
    tasks = server.tasks_of(run_id)
    assert tasks["read-part"]["output_parameters"]["Output"] == "HELLO", "the custom path was copied out"
    assert tasks["read-variables"]["output_parameters"]["Output"] == "s3cret"
    assert "image_note" not in tasks["read-part"]
    started = calls_of(folder, "run")
    assert {call[call.index("--entrypoint") + 2] for call in started} == {"example/tests:1"}
    assert "s3cret" not in json.dumps(calls_of(folder, "run"))
    reader = next(call for call in started if "HUB_TOKEN" in call)
    assert reader[reader.index("HUB_TOKEN") - 1] == "--env"
    mounted = [call[at + 1] for call in started for at, word in enumerate(call) if word == "--volume"]
    outputs = server.folder / "data" / "artifacts" / "secret-and-files" / run_id
    assert f"{outputs}/write-elsewhere:{outputs}/write-elsewhere:rw" in mounted
    assert f"{outputs}/write-elsewhere/out:{outputs}/write-elsewhere/out:ro" in mounted
    names = {call[call.index("--name") + 1] for call in started}
    assert names <= {name for call in calls_of(folder, "rm") for name in call[3:]}, "each container is removed"


def test_containers_of_a_killed_server_are_looked_for_at_the_start(server: KfpServer, folder: Path) -> None:
    engine_id = (server.folder / "data" / "engine_id").read_text()
    assert ["ps", "--all", "--quiet", "--filter", f"label=ratchet.engine={engine_id}"] in calls_of(folder, "ps")


def test_server_without_an_engine_does_not_start_and_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    (tmp_path / "token").write_text("token")
    paths = ("--data-dir", "--secrets-dir", "--xds-dir", "--runtimes-dir", "--project-dir")
    words = [word for name in paths for word in (name, str(tmp_path))]
    words += ["--port", "1", "--gateway-url", "http://127.0.0.1:1", "--token-file", str(tmp_path / "token")]
    with pytest.raises(SystemExit) as ended:
        parse_arguments([*words, "--task-runtime", "oci"])
    told = capsys.readouterr().err
    assert ended.value.code == 2
    assert "podman is not installed" in told
    assert "RATCHET_TASK_RUNTIME=process" in told


def test_real_image_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    try:
        find_container_engine()
    except SettingsError as error:
        pytest.skip(f"needs a container engine that can pull alpine: {error}")
    server = KfpServer(tmp_path, options={"--task-runtime": "oci"})
    server.start()
    try:
        monkeypatch.setenv("HOME", str(tmp_path))
        run_id = run_pipeline(server.client(), constructs.name_of_system, tmp_path)
        assert server.wait_for(run_id)["state"] == "SUCCEEDED"
        assert "Alpine" in server.tasks_of(run_id)["tell-system"]["output_parameters"]["told"]
    finally:
        server.stop()
