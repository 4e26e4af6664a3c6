"""Tasks in their own images: which engine, and what its command line is told."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest

from embedded.control_plane.engine.oci import (
    Bind,
    ContainerRun,
    copy_words,
    list_words,
    remove_words,
    run_words,
    user_of,
)
from embedded.control_plane.errors import SettingsError
from embedded.control_plane.host.container_engine import ContainerEngine, find_container_engine

PODMAN = ContainerEngine("/usr/bin/podman", is_rootless=True)
DOCKER = ContainerEngine("/usr/bin/docker", is_rootless=False)
RUN = ContainerRun(
    name="ratchet-1",
    engine_id="engine",
    image="example/tests:1",
    words=("sh", "-ec", "echo $TOKEN", "{}"),
    variables=("TOKEN", "COLOUR"),
    binds=(Bind(Path("/data/out"), "/data/out", True), Bind(Path("/data/in"), "/data/in", False)),
)


def test_container_is_told_folders_network_and_command_and_no_value_of_a_variable() -> None:
    assert run_words(PODMAN, RUN) == (
        *("/usr/bin/podman", "run", "--name", "ratchet-1", "--label", "ratchet.engine=engine", "--network", "host"),
        *("--volume", "/data/out:/data/out:rw", "--volume", "/data/in:/data/in:ro"),
        *("--env", "COLOUR", "--env", "TOKEN"),
        *("--entrypoint", "sh", "example/tests:1", "-ec", "echo $TOKEN", "{}"),
    )


def test_limits_and_devices_are_told_in_the_engines_own_options() -> None:
    asks = ContainerRun(**{**vars(RUN), "memory_bytes_max": 1024, "num_gpus": 2, "user": "5:6"})
    for engine, devices in ((PODMAN, ["--device", "nvidia.com/gpu=all"]), (DOCKER, ["--gpus", "2"])):
        words = list(run_words(engine, asks))
        start = words.index("--memory")
        assert words[start : start + 6] == ["--memory", "1024", *devices, "--user", "5:6"]


def test_containers_are_found_copied_from_and_removed_by_name_and_label() -> None:
    assert list_words(DOCKER, "e") == (
        "/usr/bin/docker",
        "ps",
        "--all",
        "--quiet",
        "--filter",
        "label=ratchet.engine=e",
    )
    assert copy_words(DOCKER, "n", "/tmp/x", Path("/y")) == ("/usr/bin/docker", "cp", "n:/tmp/x", "/y")
    assert remove_words(DOCKER, "a", "b") == ("/usr/bin/docker", "rm", "--force", "--volumes", "a", "b")


@pytest.mark.parametrize(
    ("engine", "uid", "user"),
    [
        pytest.param(PODMAN, 1000, "", id="rootless: root inside is us"),
        pytest.param(DOCKER, 1000, "1000:1000", id="daemon of root"),
        pytest.param(DOCKER, 0, "", id="we are root"),
    ],
)
def test_files_that_a_container_writes_are_ours(engine: ContainerEngine, uid: int, user: str) -> None:
    assert user_of(engine, uid=uid, gid=uid) == user


def find(answers: dict[str, tuple[int, str]], *, uid: int = 1000) -> ContainerEngine:
    def ask(words: Sequence[str]) -> tuple[int, str]:
        return answers[Path(words[0]).name]

    return find_container_engine(find=lambda name: f"/bin/{name}" if name in answers else None, ask=ask, uid=uid)


def test_first_engine_that_answers_is_taken() -> None:
    assert find({"podman": (0, "{}"), "docker": (0, "{}")}) == ContainerEngine("/bin/podman", is_rootless=True)
    assert find({"podman": (125, "broken"), "docker": (0, "{}")}) == ContainerEngine("/bin/docker", is_rootless=False)
    rootless = json.dumps({"SecurityOptions": ["name=seccomp", "name=rootless"]})
    assert find({"docker": (0, rootless)}) == ContainerEngine("/bin/docker", is_rootless=True)
    assert find({"podman": (0, "{}")}, uid=0) == ContainerEngine("/bin/podman", is_rootless=False)


def test_machine_without_an_engine_is_told_what_is_missing_and_what_to_do() -> None:
    with pytest.raises(SettingsError) as refused:
        find({"docker": (1, "Client: 28\nCannot connect to the Docker daemon")})
    for words in (
        "podman is not installed",
        "/bin/docker does not work: Cannot connect",
        "RATCHET_TASK_RUNTIME=process",
    ):
        assert words in str(refused.value)


def test_doctor_names_the_engine_only_where_tasks_need_one(monkeypatch: pytest.MonkeyPatch) -> None:
    from embedded import doctor

    monkeypatch.setattr(shutil, "which", lambda name, path=None: None)
    finding = doctor.examine_container_engine()
    assert not finding.is_fine
    assert "podman is not installed" in finding.detail
    assert "Install podman" in finding.fix
