"""What pipelines ask of a cluster, on one machine: honoured, or refused by its name."""

import importlib.util
import json
import os
import re
import urllib.request
import uuid
import zipfile
from pathlib import Path
from typing import Any

import kfp
import kfp_server_api
import pytest
import yaml
from kfp import compiler
from minio import Minio

from ratchet.settings import Settings
from tests.embedded import kfp_cluster_constructs as constructs
from tests.embedded import kfp_constructs
from tests.embedded.kfp_server import KfpServer, run_pipeline

OK, FAILED = "SUCCEEDED", "FAILED"


@pytest.fixture(scope="module")
def s3(server: KfpServer, s3_settings: Settings) -> Minio:
    """The server is told of the object store by its secret."""
    folder = server.folder / "secrets" / "ratchet"
    folder.mkdir(exist_ok=True)
    values = s3_settings.as_env()
    for key in ("RATCHET_S3_ENDPOINT", "RATCHET_S3_ACCESS_KEY", "RATCHET_S3_SECRET_KEY", "RATCHET_S3_REGION"):
        (folder / key).write_text(values.get(key, "us-east-1"))
    return Minio(
        values["RATCHET_S3_ENDPOINT"].partition("://")[2],
        access_key=values["RATCHET_S3_ACCESS_KEY"],
        secret_key=values["RATCHET_S3_SECRET_KEY"],
        secure=False,
    )


def outputs_of(server: KfpServer, run_id: str) -> dict[str, Any]:
    return {path: task["output_parameters"].get("Output") for path, task in server.tasks_of(run_id).items()}


def error_of(server: KfpServer, run_id: str, task: str) -> str:
    return str(server.tasks_of(run_id)[task]["error"]["message"])


def test_secrets_and_config_maps_are_files_below_the_mount_path(
    server: KfpServer, client: kfp.Client, tmp_path: Path
) -> None:
    run_id = run_pipeline(client, constructs.secret_and_config_volumes, tmp_path)
    assert server.wait_for(run_id)["state"] == OK
    assert outputs_of(server, run_id) == {"read-known-files": "s3cret s3cret"}
    assert "is not mounted at /etc/hub" in server.get(f"runs/{run_id}/tasks/read-known-files/log")


def test_missing_secret_fails_the_task_by_its_name(server: KfpServer, client: kfp.Client, tmp_path: Path) -> None:
    run_id = run_pipeline(client, constructs.secret_volume_missing, tmp_path)
    assert server.wait_for(run_id)["state"] == FAILED
    assert "Secret 'nowhere' is not there" in error_of(server, run_id, "read-known-files")


def test_claim_is_made_shared_and_deleted(server: KfpServer, client: kfp.Client, tmp_path: Path) -> None:
    for _ in range(2):  # the second run makes it anew, so the first has deleted it
        run_id = run_pipeline(client, constructs.claim_from_first_to_last, tmp_path)
        assert server.wait_for(run_id)["state"] == OK
        assert outputs_of(server, run_id)["read-file"] == "kept"
    assert not (server.folder / "data" / "volumes" / "shared").exists()


def test_claim_is_named_by_an_input_of_the_pipeline(server: KfpServer, client: kfp.Client, tmp_path: Path) -> None:
    run_id = run_pipeline(client, constructs.claim_by_input, tmp_path)
    assert server.wait_for(run_id)["state"] == OK
    assert outputs_of(server, run_id)["condition-1/read-file"] == "by input"


def test_empty_dir_lives_as_long_as_its_task(server: KfpServer, client: kfp.Client, tmp_path: Path) -> None:
    run_id = run_pipeline(client, constructs.scratch_volume, tmp_path)
    assert server.wait_for(run_id)["state"] == OK


def test_workspace_is_one_folder_of_the_run_by_the_path_of_a_cluster(
    server: KfpServer, client: kfp.Client, tmp_path: Path
) -> None:
    """Source: kubeflow/pipelines, backend/src/v2/driver/driver.go, needsWorkspaceMount; container.go, Container: the
    workspace's claim is in the cache's key."""
    for _ in range(2):
        run_id = run_pipeline(client, constructs.workspace, tmp_path, enable_caching=True)
        assert server.wait_for(run_id)["state"] == OK, server.get(f"runs/{run_id}")
        tasks = server.tasks_of(run_id)
        users = ("write-note", "nested-reader/read-file", "imported-part/read-part")
        assert not any(tasks[user]["is_cached"] for user in users), "another run has another workspace"
    assert outputs_of(server, run_id)["write-note"] == "/kfp-workspace/notes/note"
    assert outputs_of(server, run_id)["nested-reader/read-file"] == "kept"
    assert outputs_of(server, run_id)["imported-part/read-part"] == "HELLO"
    assert outputs_of(server, run_id)["has-folder"] is False, "what does not ask for it does not have it"


def test_fields_of_the_pod_are_constants_in_the_environment(
    server: KfpServer, client: kfp.Client, tmp_path: Path
) -> None:
    """Source: kubeflow/pipelines, backend/src/v2/driver/k8s.go, extendPodSpecPatch (FieldPathAsEnv)."""
    run_id = run_pipeline(client, constructs.field_as_variable, tmp_path)
    assert server.wait_for(run_id)["state"] == OK
    name, namespace, uid, label, missing, same = outputs_of(server, run_id)["read-variables"].split("|")
    assert re.fullmatch(r"field-as-variable-[a-z0-9]{5}-metadata-0-1-system-container-impl-[0-9]+", name)
    assert (namespace, label, missing, same) == ("kubeflow", "green", "", name)
    assert str(uuid.UUID(uid)) == uid


def test_init_containers_run_first_and_share_the_volumes(server: KfpServer, client: kfp.Client, tmp_path: Path) -> None:
    """Source: kubeflow/pipelines, backend/src/v2/driver/k8s.go, extendPodSpecPatch (InitContainers)."""

    def submit(command: str) -> str:
        path = tmp_path / "pipeline.yaml"
        compiler.Compiler().compile(constructs.ephemeral_volume, str(path))
        spec, platform = yaml.safe_load_all(path.read_text())
        platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]["exec-read-file"]["initContainers"] = [
            {
                "name": "prepare",
                "image": "busybox",
                "command": ["sh", "-ec"],
                "args": [command],
                "env": [{"name": "TEXT", "value": "ready"}],
                "volumeMounts": [{"volumeName": "eph", "mountPath": "/init"}],
            }
        ]
        path.write_text(yaml.safe_dump_all([spec, platform]))
        run_id = client.create_run_from_pipeline_package(str(path), enable_caching=False).run_id
        server.wait_for(run_id)
        return run_id

    run_id = submit('printf "$TEXT" > /init/note')
    assert outputs_of(server, run_id) == {"read-file": "ready"}
    assert "init container 'prepare': exit code 3" in error_of(server, submit("exit 3"), "read-file")


def test_artifact_at_a_path_of_its_own_goes_where_artifacts_belong(
    server: KfpServer, client: kfp.Client, tmp_path: Path
) -> None:
    """Source: kubeflow/pipelines, backend/src/v2/component/launcher_v2.go, retrieveArtifactPath."""
    run_id = run_pipeline(client, constructs.custom_path, tmp_path)
    assert server.wait_for(run_id)["state"] == OK, server.get(f"runs/{run_id}")
    assert outputs_of(server, run_id)["read-part"] == "HELLO"


def test_container_component_is_given_a_list_of_artifacts_as_json(
    server: KfpServer, client: kfp.Client, tmp_path: Path
) -> None:
    run_id = run_pipeline(client, constructs.list_of_artifacts, tmp_path)
    assert server.wait_for(run_id)["state"] == OK, server.get(f"runs/{run_id}")
    told = json.loads(server.tasks_of(run_id)["show-list"]["output_parameters"]["listing"])
    assert [Path(one["uri"]).read_text() for one in told] == ["a", "b"]


def test_task_over_its_memory_limit_is_killed_by_name_with_its_children(
    server: KfpServer, client: kfp.Client, tmp_path: Path
) -> None:
    run_id = run_pipeline(client, constructs.memory_hog, tmp_path)
    assert server.wait_for(run_id)["state"] == FAILED
    assert "of memory; its limit is 0.19 GiB" in error_of(server, run_id, "allocate")
    run_id = run_pipeline(client, constructs.memory_hog, tmp_path, {"size_mib": 10})
    assert server.wait_for(run_id)["state"] == OK


@pytest.mark.parametrize(
    ("pipeline", "named"),
    [
        pytest.param(constructs.too_large, "it asks for 921600.00 GiB of memory; this machine has", id="memory"),
        pytest.param(constructs.needs_gpu, "it asks for 64 x nvidia.com/gpu; this machine has", id="gpus"),
        pytest.param(constructs.unreadable_amount, "the CPU limit: 'lots' is not a quantity", id="no-amount"),
    ],
)
def test_request_that_this_machine_can_never_meet_fails_by_name(
    server: KfpServer, client: kfp.Client, tmp_path: Path, pipeline: Any, named: str
) -> None:
    run_id = run_pipeline(client, pipeline, tmp_path)
    assert server.wait_for(run_id)["state"] == FAILED
    assert named in error_of(server, run_id, "say")


@pytest.mark.parametrize(
    ("asked", "state", "told"),
    [
        pytest.param({}, OK, [], id="nothing"),
        pytest.param(
            {"cpu": "1", "node_selector": {"disk": "ssd"}, "tolerations": [{"operator": "Exists"}]},
            OK,
            ["node_selector has no meaning", "tolerations has no meaning", "the CPU limit"],
            id="what-there-is",
        ),
        pytest.param(
            {"accelerator": "nvidia.com/gpu", "num_accelerators": "64"}, FAILED, ["64 x nvidia.com/gpu"], id="gpus"
        ),
        pytest.param({"cpu": "4000"}, FAILED, ["it asks for 4000 CPUs; this machine has"], id="cpus"),
    ],
)
def test_a_step_asks_for_what_another_one_read_in_a_policy(
    server: KfpServer, client: kfp.Client, tmp_path: Path, asked: dict[str, Any], state: str, told: list[str]
) -> None:
    """As `finetune` of the pipeline `retrain` does, two conditions deeper; a refused one is not tried again."""
    run_id = run_pipeline(client, constructs.asks_by_outputs, tmp_path, asked)
    assert server.wait_for(run_id)["state"] == state
    (task_id,) = [task_id for task_id in server.tasks_of(run_id) if task_id.rpartition("/")[2] == "say"]
    text = server.get(f"runs/{run_id}/tasks/{task_id}/log") if state == OK else error_of(server, run_id, task_id)
    assert [words for words in told if words not in text] == []
    assert told or not [words for words in ("no meaning", "CPU limit", "emptyDir") if words in text]


def test_tasks_that_do_not_fit_together_run_one_after_the_other(
    server: KfpServer, client: kfp.Client, tmp_path: Path
) -> None:
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    arguments = {"folder": str(tmp_path), "half": str(int(total * 0.51))}
    limit = Path("/sys/fs/cgroup/memory.max")
    if limit.exists() and limit.read_text().strip().isdigit():
        arguments["half"] = str(int(min(total, int(limit.read_text())) * 0.51))
    run_id = run_pipeline(client, constructs.two_halves_and_a_small_one, tmp_path, arguments)
    assert server.wait_for(run_id)["state"] == OK
    spans = {path.stem: tuple(map(float, path.read_text().split())) for path in tmp_path.glob("*.span")}
    (start_1, end_1), (start_2, end_2) = spans["one"], spans["two"]
    assert end_1 <= start_2 or end_2 <= start_1
    assert spans["free"][0] < max(start_1, start_2), "what asks for nothing does not wait"


@pytest.mark.parametrize(
    ("pipeline", "named"),
    [
        pytest.param(constructs.unknown_field, "'spec.containers'", id="field-path-that-is-none"),
        pytest.param(constructs.needs_artifact, "'data' is an artifact", id="artifact-as-input-of-a-run"),
        pytest.param(constructs.task_config, "TASK_CONFIG", id="task-config"),
        pytest.param(constructs.mount_hides_everything, "mount path '/'", id="mount-at-root"),
    ],
)
def test_what_cannot_be_honoured_is_refused_at_submission(
    client: kfp.Client, tmp_path: Path, pipeline: Any, named: str
) -> None:
    with pytest.raises(kfp_server_api.ApiException) as refused:
        run_pipeline(client, pipeline, tmp_path)
    assert refused.value.status == 400
    assert named in refused.value.body


@pytest.mark.parametrize(
    ("root", "named"),
    [
        pytest.param("gs://bucket/x", "gs://bucket/x", id="another-cloud"),
        pytest.param("relative/path", "relative/path", id="relative"),
    ],
)
def test_pipeline_root_elsewhere_is_refused(client: kfp.Client, tmp_path: Path, root: str, named: str) -> None:
    path = tmp_path / "pipeline.yaml"
    compiler.Compiler().compile(kfp_constructs.sequence, str(path))
    with pytest.raises(kfp_server_api.ApiException) as refused:
        client.create_run_from_pipeline_package(str(path), pipeline_root=root)
    assert named in refused.value.body


def test_local_pipeline_root_must_be_below_the_data_folder(
    server: KfpServer, client: kfp.Client, tmp_path: Path
) -> None:
    path = tmp_path / "pipeline.yaml"
    compiler.Compiler().compile(kfp_constructs.artifacts, str(path))
    inside = server.folder / "data" / "mine"
    run_id = client.create_run_from_pipeline_package(str(path), pipeline_root=f"file://{inside}").run_id
    assert server.wait_for(run_id)["state"] == OK
    found = server.get(f"runs/{run_id}/artifacts")["artifacts"]
    assert {Path(entry["uri"]).is_relative_to(inside) for entry in found} == {True}
    run_id = client.create_run_from_pipeline_package(str(path), pipeline_root=str(tmp_path)).run_id
    run = server.wait_for(run_id)
    assert run["state"] == FAILED
    assert "outside of this backend's data folder" in run["error"]["message"]


def test_artifacts_go_through_s3_and_are_cached_there(
    server: KfpServer, client: kfp.Client, s3: Minio, tmp_path: Path
) -> None:
    path = tmp_path / "pipeline.yaml"
    compiler.Compiler().compile(constructs.through_s3, str(path))
    for _ in range(2):
        run_id = client.create_run_from_pipeline_package(
            str(path), arguments={"folder": str(tmp_path)}, pipeline_root="s3://ratchet/runs/"
        ).run_id
        assert server.wait_for(run_id)["state"] == OK, server.get(f"runs/{run_id}")
    outputs = outputs_of(server, run_id)
    assert outputs["read-part"] == "HELLO"
    assert [task["is_cached"] for task in server.tasks_of(run_id).values()] == [True] * 5
    uris = {
        entry["task_id"] + "/" + entry["output"]: entry["uri"]
        for entry in server.get(f"runs/{run_id}/artifacts")["artifacts"]
    }
    assert uris["write/out"].startswith("s3://ratchet/runs/through-s3/")
    assert server.tasks_of(run_id)["show-address"]["output_parameters"]["uri"] == uris["write/out"]
    bucket, _, name = uris["copy-dataset/out"].removeprefix("s3://").partition("/")
    assert s3.get_object(bucket, f"{name}/part").data == b"HELLO"
    assert not list((server.folder / "data" / "staging").rglob("part")), "staged inputs are gone"


@pytest.mark.parametrize("root", ["s3://ratchet/default", "minio://ratchet/older"])
def test_default_root_of_the_pipeline_may_be_s3(
    server: KfpServer, client: kfp.Client, s3: Minio, tmp_path: Path, root: str
) -> None:
    """Source of minio://: kubeflow/pipelines, backend/src/v2/objectstore/object_store.go, OpenBucket."""
    path = tmp_path / "pipeline.yaml"
    compiler.Compiler().compile(kfp_constructs.artifacts, str(path))
    spec = {**yaml.safe_load(path.read_text()), "defaultPipelineRoot": root}
    path.write_text(yaml.safe_dump(spec))
    run_id = client.create_run_from_pipeline_package(str(path), enable_caching=False).run_id
    assert server.wait_for(run_id)["state"] == OK
    assert outputs_of(server, run_id)["read"] == "hello 5"
    assert server.get(f"runs/{run_id}/artifacts")["artifacts"][0]["uri"].startswith(f"{root}/")


def test_importer_takes_s3_objects_and_a_missing_one_fails_its_reader_by_name(
    server: KfpServer, client: kfp.Client, s3: Minio, tmp_path: Path
) -> None:
    (tmp_path / "data.txt").write_text("from s3")
    s3.fput_object("ratchet", "import/data.txt", str(tmp_path / "data.txt"))
    uri = "s3://ratchet/import/data.txt"
    run_id = run_pipeline(client, constructs.import_from, tmp_path, {"uri": uri})
    assert server.wait_for(run_id)["state"] == OK
    assert outputs_of(server, run_id)["read"] == "from s3 7"
    assert server.get(f"runs/{run_id}/artifacts")["artifacts"][0]["uri"] == uri
    run_id = run_pipeline(client, constructs.import_from, tmp_path, {"uri": f"{uri}.missing"})
    assert server.wait_for(run_id)["state"] == FAILED
    assert f"{uri}.missing: NoSuchKey" in error_of(server, run_id, "read")


def make_index(folder: Path) -> str:
    """A package index of one pure-Python wheel, as `file://`."""
    name, version = "ratchet_test_greeting", "1.0"
    project = folder / "ratchet-test-greeting"
    project.mkdir(parents=True)
    wheel = project / f"{name}-{version}-py3-none-any.whl"
    info = f"{name}-{version}.dist-info"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr(f"{name}.py", 'TEXT = "hello"\n')
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        archive.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(f"{info}/RECORD", "")
    (project / "index.html").write_text(f'<a href="{wheel.name}">{wheel.name}</a>')
    return f"file://{folder}"


def test_packages_are_installed_once_in_an_environment_of_their_own(
    server: KfpServer, client: kfp.Client, tmp_path: Path
) -> None:
    pipeline = constructs.packages_pipeline("ratchet-test-greeting==1.0", make_index(tmp_path / "index"))
    run_id = run_pipeline(client, pipeline, tmp_path)
    assert server.wait_for(run_id)["state"] == OK, error_of(server, run_id, "greet")
    text, _, prefix = outputs_of(server, run_id)["greet"].partition(" ")
    environments = server.folder / "data" / "environments"
    assert text == "hello"
    assert Path(prefix).parent == environments
    assert outputs_of(server, run_id)["greet-too"] == "hello kfp"
    built = [path for path in environments.iterdir() if path.is_dir() and not path.is_symlink()]
    assert len(built) == 1, "two tasks at once share one build"
    assert importlib.util.find_spec("ratchet_test_greeting") is None, "never in the service's own environment"


def test_command_that_calls_pip_by_itself_installs_only_for_itself(
    server: KfpServer, client: kfp.Client, tmp_path: Path
) -> None:
    run_id = run_pipeline(client, constructs.installs_by_hand, tmp_path, {"index": make_index(tmp_path / "index")})
    assert server.wait_for(run_id)["state"] == OK, error_of(server, run_id, "install-by-hand")
    text, _, prefix = server.tasks_of(run_id)["install-by-hand"]["output_parameters"]["out"].strip().partition(" ")
    assert text == "hello"
    assert not Path(prefix).exists(), "it is gone with the task"
    assert importlib.util.find_spec("ratchet_test_greeting") is None, "never in the service's own environment"


def test_package_that_is_nowhere_is_refused_in_pips_own_words(
    server: KfpServer, client: kfp.Client, tmp_path: Path
) -> None:
    pipeline = constructs.packages_pipeline("ratchet-test-greeting==2.0", make_index(tmp_path / "index"))
    run_id = run_pipeline(client, pipeline, tmp_path)
    assert server.wait_for(run_id)["state"] == FAILED
    message = error_of(server, run_id, "greet")
    assert "No matching distribution found for ratchet-test-greeting==2.0" in message
    assert "package index" in message
    built = [path for path in (server.folder / "data" / "environments").iterdir() if path.is_dir()]
    links = [path for path in built if path.is_symlink()]
    assert {path.resolve() for path in links} == {path for path in built if not path.is_symlink()}, "no half is left"


def test_run_over_its_deadline_ends_and_says_so(server: KfpServer, client: kfp.Client, tmp_path: Path) -> None:
    """The compiler of kfp 2.16 does not write this field yet; the schema has it."""
    path = tmp_path / "pipeline.yaml"
    compiler.Compiler().compile(kfp_constructs.long_with_exit, str(path))
    platform = {"platforms": {"kubernetes": {"pipelineConfig": {"activeDeadlineSeconds": "1"}}}}
    body = {
        "display_name": "late",
        "pipeline_spec": {"pipeline_spec": yaml.safe_load(path.read_text()), "platform_spec": platform},
        "runtime_config": {"parameters": {"mark": str(tmp_path / "mark")}},
    }
    request = urllib.request.Request(
        f"{server.url}/apis/v2beta1/runs",
        data=json.dumps(body).encode(),
        headers={"Content-Type": "application/json"},
        method="POST",
    )
    with urllib.request.urlopen(request, timeout=10) as response:
        run_id = json.load(response)["run_id"]
    run = server.wait_for(run_id)
    assert (run["state"], run["error"]["message"]) == (FAILED, "the run took longer than 1 s (activeDeadlineSeconds)")
    assert server.tasks_of(run_id)["report"]["state"] == OK
