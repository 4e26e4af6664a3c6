"""What makes two tasks the same work: kubeflow/pipelines, backend/src/v2/driver/cache.go, cacheutils/cache.go."""

from typing import Any

import pytest
from kfp import compiler

from embedded.control_plane.engine.cache import fingerprint_of
from embedded.control_plane.engine.executors import Container
from embedded.control_plane.engine.inputs import root_arguments
from embedded.control_plane.engine.kubernetes_spec import Pipeline
from embedded.control_plane.engine.live_run import LiveRun
from embedded.control_plane.engine.loading import load_pipeline, parse_upload
from embedded.control_plane.engine.records import ROOT, RunRequest, TaskKind, TaskRecord, TaskState
from embedded.control_plane.engine.roots import root_of
from embedded.control_plane.engine.spec import Component, Task
from embedded.control_plane.engine.values import Artifact, Values
from tests.embedded.kfp_value_constructs import names_by_inputs
from tests.fakes.pipeline_play import NOON

TASK: dict[str, Any] = {"componentRef": {"name": "comp-a"}, "cachingOptions": {"enableCache": True}}
COMPONENT: dict[str, Any] = {
    "executorLabel": "exec-a",
    "inputDefinitions": {"parameters": {"x": {"parameterType": "STRING", "defaultValue": "d", "isOptional": True}}},
    "outputDefinitions": {
        "parameters": {"p": {"parameterType": "STRING"}},
        "artifacts": {"o": {"artifactType": {"schemaTitle": "system.Dataset"}}},
    },
}
CONTAINER: dict[str, Any] = {"image": "i:1", "command": ["sh"], "args": ["-c"]}
DATA = Artifact(id="1", name="data", type={}, uri="/a")
INPUTS = Values(parameters={"x": "1"}, artifacts={"data": (DATA,)})


def key(task: Any = TASK, component: Any = COMPONENT, container: Any = CONTAINER, **rest: Any) -> str:
    parts = (Task.model_validate(task), Component.model_validate(component), Container.model_validate(container))
    return fingerprint_of(*parts, rest.pop("inputs", INPUTS), **rest)


def typed(kind: str) -> dict[str, Any]:
    outputs = COMPONENT["outputDefinitions"]
    return {**COMPONENT, "outputDefinitions": {**outputs, "parameters": {"p": {"parameterType": kind}}}}


@pytest.mark.parametrize(
    "changed",
    [
        pytest.param({"inputs": INPUTS.model_copy(update={"parameters": {"x": 1}})}, id="value"),
        pytest.param({"inputs": INPUTS.model_copy(update={"parameters": {}})}, id="left-out"),
        pytest.param(
            {"inputs": INPUTS.model_copy(update={"artifacts": {"data": (DATA.model_copy(update={"id": "2"}),)}})},
            id="another-artifact",
        ),
        pytest.param({"component": typed("STRUCT")}, id="type-of-an-output"),
        pytest.param({"container": {**CONTAINER, "image": "i:2"}}, id="image"),
        pytest.param({"container": {**CONTAINER, "args": ["-e"]}}, id="arguments"),
        pytest.param({"claims": ["one"]}, id="claim"),
        pytest.param({"is_own_image": True}, id="in-its-own-image"),
        pytest.param({"task": {**TASK, "cachingOptions": {"enableCache": True, "cacheKey": "k"}}}, id="own-key"),
    ],
)
def test_what_is_in_the_key_makes_other_work(changed: Any) -> None:
    assert key(**changed) != key()


@pytest.mark.parametrize(
    "changed",
    [
        pytest.param({"container": {**CONTAINER, "env": [{"name": "A", "value": "b"}]}}, id="environment"),
        pytest.param({"container": {**CONTAINER, "resources": {"cpuLimit": 2}}}, id="resources"),
        pytest.param({"task": {**TASK, "taskInfo": {"name": "b"}}}, id="name-of-the-task"),
        pytest.param(
            {"inputs": INPUTS.model_copy(update={"artifacts": {"data": (DATA.model_copy(update={"uri": "/b"}),)}})},
            id="place-of-an-artifact",
        ),
    ],
)
def test_what_is_not_in_the_key_is_the_same_work(changed: Any) -> None:
    assert key(**changed) == key()


def test_claims_count_once_and_in_any_order() -> None:
    assert key(claims=["a", "b", "a"]) == key(claims=["b", "a"])


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Pipeline:
    path = tmp_path_factory.mktemp("names") / "names.yaml"
    compiler.Compiler().compile(names_by_inputs, str(path))
    return load_pipeline(parse_upload(path.read_bytes()))


def live(pipeline: Pipeline, tmp_path: Any, **arguments: Any) -> LiveRun:
    given = root_arguments(pipeline.spec, arguments)
    request = RunRequest(
        run_id="r", display_name="r", spec_digest="", arguments=given, created_at=NOON, scheduled_at=NOON
    )
    common = {"created_at": NOON, "state": TaskState.RUNNING}
    root = TaskRecord(
        path=ROOT, name="root", display_name="r", kind=TaskKind.DAG, inputs=Values(parameters=given), **common
    )
    task = TaskRecord(path="say", name="say", display_name="say", kind=TaskKind.CONTAINER, **common)
    return LiveRun(request, pipeline, {}, root_of("", data_dir=tmp_path), {ROOT: root, "say": task})


def test_a_run_with_another_claim_takes_nothing_from_the_cache(pipeline: Pipeline, tmp_path: Any) -> None:
    keys = [
        run.fingerprint_of(run.records["say"])
        for run in (live(pipeline, tmp_path, volume=name) for name in ("one", "one", "two"))
    ]
    assert keys[0] == keys[1] != keys[2] and keys[0]


@pytest.mark.parametrize(("secret", "num_names"), [(None, 0), ("hub", 1)])
def test_secret_whose_name_is_left_out_is_left_out(
    pipeline: Pipeline, tmp_path: Any, secret: Any, num_names: Any
) -> None:
    """driver/k8s.go, extendPodSpecPatch: ErrResolvedParameterNull skips the Secret or ConfigMap."""
    run = live(pipeline, tmp_path, volume="one", secret=secret)
    found = run.kubernetes_of(run.records["say"])
    assert (len(found.secret_as_env), len(found.config_map_as_volume)) == (num_names, num_names)
