"""What the committed pipelines promise to whoever runs them."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from pipelines.compile import COMPILED_DIR, PIPELINES
from ratchet.settings import child_env, task_variable_names

PROJECT_DIR = Path(__file__).parents[2]
NEVER_CACHED = {"register", "canary-deploy", "rollback", "notify"}


def documents(name: str) -> tuple[dict, dict]:
    spec, platform = yaml.safe_load_all((COMPILED_DIR / f"{name}.yaml").read_text())
    return spec, platform


def tasks_of(spec: dict) -> list[tuple[str, dict]]:
    dags = [spec["root"], *spec["components"].values()]
    return [item for dag in dags if "dag" in dag for item in dag["dag"]["tasks"].items()]


@pytest.mark.parametrize("hash_seed", ["1", "999"])
def test_the_committed_files_are_what_the_sources_compile_to(hash_seed):
    check = subprocess.run(
        [sys.executable, "-m", "pipelines.compile", "--check"],
        cwd=PROJECT_DIR,
        env=child_env({"PYTHONHASHSEED": hash_seed}),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert check.returncode == 0, check.stdout + check.stderr


def test_every_compiled_file_has_a_source():
    assert {path.stem for path in COMPILED_DIR.glob("*.yaml")} == set(PIPELINES)


@pytest.mark.parametrize("name", PIPELINES)
def test_a_pipeline_has_the_name_that_it_is_published_under(name):
    assert documents(name)[0]["pipelineInfo"]["name"] == name


@pytest.mark.parametrize("name", PIPELINES)
def test_what_changes_the_world_is_never_served_from_the_cache(name):
    cached = {task for task, spec in tasks_of(documents(name)[0]) if spec.get("cachingOptions", {}).get("enableCache")}
    assert not cached & NEVER_CACHED


@pytest.mark.parametrize("name", PIPELINES)
def test_every_step_is_retried_when_it_is_killed_and_says_which_ends_are_final(name):
    spec, platform = documents(name)
    steps = [task for _, task in tasks_of(spec) if task["componentRef"]["name"].startswith("comp-")]
    leaves = [task for task in steps if "executorLabel" in spec["components"][task["componentRef"]["name"]]]
    policy = {"maxRetryCount": 3, "backoffDuration": "5s", "backoffFactor": 2.0, "backoffMaxDuration": "3600s"}
    assert leaves and [task["retryPolicy"] for task in leaves] == [policy] * len(leaves)
    for executor in platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"].values():
        assert executor["podMetadata"]["annotations"] == {"ratchet/final-exit-codes": "3,4,5"}


@pytest.mark.parametrize("name", PIPELINES)
def test_images_are_pinned_and_nothing_is_installed_at_run_time(name):
    for executor in documents(name)[0]["deploymentSpec"]["executors"].values():
        container = executor["container"]
        tag = container["image"].rpartition(":")[2]
        assert tag and tag != "latest" and "/" not in tag
        assert not any("pip install" in part for part in container["command"])


@pytest.mark.parametrize("name", PIPELINES)
def test_every_task_gets_every_setting_from_the_secret(name):
    spec, platform = documents(name)
    executors = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    assert set(executors) == set(spec["deploymentSpec"]["executors"])
    for executor in executors.values():
        given = {item["envVar"] for secret in executor["secretAsEnv"] for item in secret["keyToEnv"]}
        assert given == set(task_variable_names())


def test_retrain_takes_what_the_sensor_sends_and_ends_with_notify():
    spec, _ = documents("retrain")
    assert set(spec["root"]["inputDefinitions"]["parameters"]) == {"task", "run_key"}
    notify = spec["root"]["dag"]["tasks"]["notify"]
    assert notify["triggerPolicy"]["strategy"] == "ALL_UPSTREAM_TASKS_COMPLETED"


def test_a_training_asks_for_what_ingest_read_in_the_policy_of_its_task():
    """Each by an input of the task, in the DAG that it is in: a driver finds no other."""
    spec, platform = documents("retrain")
    kubernetes = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]["exec-finetune"]
    inputs = {f"pipelinechannel--ingest-{name}" for name in ("cpu", "memory", "accelerator", "num_accelerators")}
    text = str(spec["deploymentSpec"]["executors"]["exec-finetune"]["container"]["resources"])
    assert all(f"inputs.parameters['{name}']" in text for name in inputs)
    (dag,) = [each for each in spec["components"].values() if "finetune" in each.get("dag", {}).get("tasks", {})]
    assert inputs < set(dag["dag"]["tasks"]["finetune"]["inputs"]["parameters"])
    sources = kubernetes["nodeSelector"]["nodeSelectorJson"], kubernetes["tolerations"][0]["tolerationJson"]
    named = {source["componentInputParameter"] for source in sources}
    assert named == {"pipelinechannel--ingest-node_selector", "pipelinechannel--ingest-tolerations"}
    assert named < set(dag["inputDefinitions"]["parameters"])
    assert [(each["mountPath"], each["medium"]) for each in kubernetes["emptyDirMounts"]] == [("/dev/shm", "Memory")]


def test_no_file_holds_the_path_of_the_machine_that_compiled_it():
    for name in PIPELINES:
        assert os.sep + "home" not in (text := (COMPILED_DIR / f"{name}.yaml").read_text())
        assert str(PROJECT_DIR) not in text
