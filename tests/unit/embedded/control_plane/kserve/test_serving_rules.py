"""Pure rules of the serving side: patches, commands, object paths, conditions, request bodies."""

import copy
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedded.control_plane.errors import DataRejected, SettingsError
from embedded.control_plane.kserve.commands import command_of, env_of, model_name_of
from embedded.control_plane.kserve.models import StoredFile, check_path, digest_of_model
from embedded.control_plane.kserve.predictor import parse_predictor
from embedded.control_plane.kserve.revisions import Rollout, converge
from embedded.control_plane.kserve.runtimes import ContainerEnvVar, load_runtimes
from embedded.control_plane.kserve.status import RevisionState, render_status
from embedded.control_plane.kubernetes.errors import FieldError
from embedded.control_plane.kubernetes.patch import PatchError, json_patch, merge_patch
from ratchet.core import errors
from ratchet.core.labels.schema import CategoryOutput, ExampleSchema, VectorInput
from ratchet.serving.inputs import NUM_INSTANCES_MAX, parse_instances, parse_tensor
from ratchet.serving.request_images import RequestImages
from tests.conftest import PROJECT_DIR

DEPLOYED = PROJECT_DIR / "deploy" / "base"

# --- patches

JSON = st.recursive(st.none() | st.booleans() | st.integers() | st.text(max_size=3), lambda inner: (
    st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3)
), max_leaves=8)  # fmt: skip


@pytest.mark.parametrize(
    ("target", "patch", "expected"),
    [
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
        ({"a": "b"}, {"a": None}, {}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        (["a"], {"b": None}, {}),
        ({"a": "foo"}, "bar", "bar"),
        ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
    ],
)
def test_merge_patch_does_what_rfc_7386_lists(target, patch, expected):
    assert merge_patch(target, patch) == expected


@given(JSON, JSON)
def test_merge_patch_twice_is_merge_patch_once_and_the_target_is_left_alone(target, patch):
    before = copy.deepcopy(target)
    once = merge_patch(target, patch)
    assert merge_patch(once, patch) == once
    assert target == before


@pytest.mark.parametrize(
    ("operations", "expected"),
    [
        ([{"op": "add", "path": "/c", "value": 1}], {"a": [1, 2], "b": {"x/y": 0}, "c": 1}),
        ([{"op": "add", "path": "/a/-", "value": 3}], {"a": [1, 2, 3], "b": {"x/y": 0}}),
        ([{"op": "add", "path": "/a/0", "value": 0}], {"a": [0, 1, 2], "b": {"x/y": 0}}),
        ([{"op": "replace", "path": "/b/x~1y", "value": 9}], {"a": [1, 2], "b": {"x/y": 9}}),
        ([{"op": "remove", "path": "/a/1"}], {"a": [1], "b": {"x/y": 0}}),
        ([{"op": "move", "from": "/b/x~1y", "path": "/c"}], {"a": [1, 2], "b": {}, "c": 0}),
        ([{"op": "copy", "from": "/a", "path": "/b/z"}], {"a": [1, 2], "b": {"x/y": 0, "z": [1, 2]}}),
        ([{"op": "test", "path": "/a/0", "value": 1}], {"a": [1, 2], "b": {"x/y": 0}}),
    ],
)
def test_json_patch_does_what_rfc_6902_says(operations, expected):
    target = {"a": [1, 2], "b": {"x/y": 0}}
    assert json_patch(target, operations) == expected
    assert target == {"a": [1, 2], "b": {"x/y": 0}}


@pytest.mark.parametrize(
    "operations",
    [
        pytest.param([{"op": "add", "path": ["a"], "value": 1}], id="a-path-that-is-no-text"),
        pytest.param([{"op": "replace", "path": "/missing", "value": 1}], id="replace-of-nothing"),
        pytest.param([{"op": "remove", "path": "/a/7"}], id="no-such-index"),
        pytest.param([{"op": "remove", "path": "/a/-1"}], id="negative-index"),
        pytest.param([{"op": "add", "path": "/a/9", "value": 1}], id="beyond-the-end"),
        pytest.param([{"op": "test", "path": "/a", "value": []}], id="failed-test"),
        pytest.param([{"op": "add", "path": "a", "value": 1}], id="no-slash"),
        pytest.param([{"op": "add", "path": "/a/0/x", "value": 1}], id="through-a-number"),
        pytest.param([{"op": "jump", "path": "/a"}], id="unknown-op"),
        pytest.param([{"path": "/a"}], id="no-op"),
        pytest.param({"op": "add"}, id="no-list"),
        pytest.param([7], id="no-operation"),
    ],
)
def test_a_json_patch_that_does_not_fit_is_refused(operations):
    with pytest.raises(PatchError):
        json_patch({"a": [1, 2]}, operations)


# --- from a predictor to a command


def test_the_runtime_that_we_deploy_becomes_a_local_command():
    template = parse_predictor(
        {"model": {"modelFormat": {"name": "ratchet"}, "storageUri": "s3://models/digits/abc"}},
        name="digits",
        namespace="default",
        runtimes=load_runtimes(DEPLOYED),
        secrets={},
    )
    command = command_of(template.command, env={}, port=20001, mount="/var/m")
    assert command[:3] == ["python3", "-m", "ratchet.serving"]
    assert command[3:] == ["--model_name=digits", "--model_dir=/var/m", "--http_port=20001", "--host=127.0.0.1"]


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        pytest.param(("serve",), ["serve", "--http_port=20001"], id="appended-when-absent"),
        pytest.param(("serve", "--http_port", "8080"), ["serve", "--http_port", "20001"], id="two-words"),
        pytest.param(("serve", "--http_port=8080"), ["serve", "--http_port=20001"], id="one-word"),
        pytest.param(("serve", "-p", "$(PORT)"), ["serve", "-p", "20001"], id="knatives-variable"),
        pytest.param(("serve", "$(PORT)", "$(NOPE)"), ["serve", "20001", "$(NOPE)"], id="unknown-variables-stay"),
        pytest.param(
            ("serve", "--host", "0.0.0.0", "$(PORT)"), ["serve", "--host", "127.0.0.1", "20001"], id="loopback"
        ),
        pytest.param(("cat", "/mnt/models/x", "$(PORT)"), ["cat", "/var/m/x", "20001"], id="the-mount"),
    ],
)
def test_a_containers_command_gets_this_machines_port_host_and_folder(command, expected):
    assert command_of(command, env={"PORT": "20001"}, port=20001, mount="/var/m") == expected


def test_env_reads_secrets_and_refers_to_what_came_before(tmp_path):
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / "k").write_text("hidden")
    variables = (
        ContainerEnvVar.model_validate({"name": "A", "source": {"secret": "s", "key": "k"}}),
        ContainerEnvVar(name="B", value="<$(A)>"),
        ContainerEnvVar.model_validate({"name": "C", "source": {"secret": "s", "key": "gone", "is_optional": True}}),
    )
    assert env_of(variables, tmp_path) == {"A": "hidden", "B": "<hidden>"}


@pytest.mark.parametrize(
    ("container", "field"),
    [
        pytest.param({"image": "x"}, "containers[0].command", id="no-command"),
        pytest.param({"command": ["x"], "volumeMounts": []}, "containers[0].volumeMounts", id="volumes"),
        pytest.param({"command": "x"}, "containers[0].command", id="command-is-no-list"),
        pytest.param({"command": ["x"], "env": [{"name": "1"}]}, "containers[0].env[0].name", id="odd-name"),
        pytest.param({"command": ["x"], "env": [{"name": "A", "value": 1}]}, "containers[0].env[0].value", id="number"),
        pytest.param(
            {"command": ["x"], "env": [{"name": "A", "valueFrom": {"fieldRef": {}}}]},
            "containers[0].env[0].valueFrom.fieldRef",
            id="field-of-a-pod",
        ),
        pytest.param(
            {"command": ["x"], "env": [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}]},
            " env A",
            id="no-such-secret",
        ),
        pytest.param({"command": ["x", "{{.Labels.x}}"]}, "", id="unknown-template"),
    ],
)
def test_a_container_that_cannot_be_run_here_is_refused_by_the_fields_name(container, field):
    with pytest.raises(FieldError) as caught:
        parse_predictor({"containers": [container]}, name="m", namespace="n", runtimes=(), secrets={})
    assert caught.value.field == f"spec.predictor{'.' if field.startswith('c') else ''}{field}"


@pytest.mark.parametrize(
    "text",
    [
        "kind: ServingRuntime\nmetadata: {name: x}",
        "kind: ServingRuntime\nmetadata: {name: x}\nspec: {supportedModelFormats: [], containers: [{image: y}]}",
        "kind: ServingRuntime\nspec: [",
    ],
)
def test_a_wrong_runtime_file_is_named(tmp_path, text):
    (tmp_path / "wrong.yaml").write_text(text)
    with pytest.raises(SettingsError, match=r"wrong\.yaml"):
        load_runtimes(tmp_path)


# --- objects of a model


@pytest.mark.parametrize("path", ["../x", "a/../../x", "/etc/passwd", "a/..", "..", "", "a\\..\\x", "a\0b"])
def test_an_object_that_would_leave_the_models_folder_is_refused(path):
    with pytest.raises(DataRejected, match="outside the model's folder"):
        check_path(path, "s3://models/m")


@given(st.text(min_size=1))
def test_an_accepted_path_stays_inside(path):
    try:
        accepted = check_path(path, "s3://models/m")
    except DataRejected:
        return
    assert Path("/root/m", accepted).resolve().is_relative_to("/root/m")


def test_another_content_is_another_folder_and_the_order_of_the_listing_is_not():
    one, two = StoredFile("a", 1, "etag-1"), StoredFile("b", 2, "etag-2")
    assert digest_of_model("s3://m/x", [one, two]) == digest_of_model("s3://m/x", [two, one])
    assert digest_of_model("s3://m/x", [one]) != digest_of_model("s3://m/x", [one._replace(etag="etag-3")])
    assert digest_of_model("s3://m/x", [one]) != digest_of_model("s3://m/y", [one])


# --- conditions


READY = RevisionState(is_ready=True)
STARTING = RevisionState(is_ready=False, message="r is starting")
DEAD = RevisionState(is_ready=False, is_failed=True, message="r died: the log's end")


@pytest.mark.parametrize(
    ("states", "canary", "is_routed", "ready", "configuration", "route"),
    [
        pytest.param({"r2": STARTING}, None, False, "Unknown", "Unknown", "Unknown", id="first-one-starts"),
        pytest.param({"r2": DEAD}, None, False, "False", "False", "False", id="first-one-fails"),
        pytest.param({"r1": READY, "r2": READY}, 10, True, "True", "True", "True", id="both-serve"),
        pytest.param({"r1": READY, "r2": DEAD}, 10, True, "False", "False", "False", id="canary-died"),
        pytest.param({"r1": DEAD, "r2": READY}, 10, True, "False", "True", "False", id="stable-died"),
        pytest.param({"r1": STARTING, "r2": READY}, 10, True, "Unknown", "True", "Unknown", id="stable-restarts"),
        pytest.param({"r1": READY, "r2": READY}, None, True, "Unknown", "True", "Unknown", id="traffic-is-on-its-way"),
    ],
)
def test_conditions(states, canary, is_routed, ready, configuration, route):
    rollout = (
        Rollout(latest_created="r2", latest_ready="r2", latest_rolled_out="r1")
        if is_routed
        else Rollout(latest_created="r2")
    )
    _, routed = converge(rollout, canary_traffic_pct=10)
    _, wanted = converge(rollout, canary_traffic_pct=canary)
    status = render_status(
        generation=3,
        rollout=rollout,
        wanted=wanted,
        routed=routed,
        states=states,
        url="http://gateway",
        previous={},
        now="2026-01-01T00:00:00Z",
    )
    found = {condition["type"]: condition["status"] for condition in status["conditions"]}
    assert (found["Ready"], found["LatestDeploymentReady"], found["RoutesReady"]) == (ready, configuration, route)
    assert status.get("url") == ("http://gateway" if is_routed else None)
    for condition in status["conditions"]:
        assert condition["status"] == "True" or condition["message"]


def test_a_condition_keeps_its_time_until_its_status_changes():
    def status_at(now: str, state: RevisionState, previous: dict) -> dict:
        return render_status(
            generation=1,
            rollout=Rollout(latest_created="r1"),
            wanted=(),
            routed=(),
            states={"r1": state},
            url="u",
            previous=previous,
            now=now,
        )

    first = status_at("t1", STARTING, {})
    assert status_at("t2", STARTING, first) == first
    times = {each["type"]: each["lastTransitionTime"] for each in status_at("t3", DEAD, first)["conditions"]}
    assert times["Ready"] == "t3"


# --- request bodies of the model server

THREE = ExampleSchema(
    inputs=(VectorInput(name="v", size=3),),
    output=CategoryOutput(classes=("a", "b")),
)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        pytest.param({"instances": [[1, 2]]}, "instances[0] has 2 features; this model takes 3", id="too-few"),
        pytest.param({"instances": [[1, 2, 3], [1, 2, 3, 4]]}, "instances[1] has 4", id="too-many"),
        pytest.param({"instances": [[1, "2", 3]]}, "holds '2'", id="string"),
        pytest.param({"instances": [[1, None, 3]]}, "holds None", id="null"),
        pytest.param({"instances": [[1, True, 3]]}, "holds True", id="bool"),
        pytest.param({"instances": [[1, [2], 3]]}, "holds [2]", id="nested"),
        pytest.param({"instances": [[1, float("nan"), 3]]}, "instances[0][1] is not finite", id="nan"),
        pytest.param({"instances": [[1, float("inf"), 3]]}, "instances[0][1] is not finite", id="inf"),
        pytest.param({"instances": [[1, 10**400, 3]]}, "too large", id="huge-integer"),
        pytest.param({"instances": ["abc"]}, "must be a list of 3 numbers", id="text-of-the-right-length"),
        pytest.param({"instances": [{"a": 1, "b": 2, "c": 3}]}, "must be a list of 3 numbers", id="object"),
        pytest.param({"instances": []}, "0 instances", id="empty"),
        pytest.param({"instances": [[1, 2, 3]] * (NUM_INSTANCES_MAX + 1)}, "4097 instances", id="too-many-rows"),
        pytest.param({"instances": 3}, "must be a JSON object", id="no-list"),
        pytest.param({"inputs": []}, "must be a JSON object", id="another-key"),
        pytest.param([[1, 2, 3]], "must be a JSON object", id="bare-list"),
        pytest.param(None, "must be a JSON object", id="null-body"),
    ],
)
def test_a_wrong_body_is_refused_and_the_message_says_where(body, message):
    with pytest.raises(errors.DataRejected) as caught:
        parse_instances(body, schema=THREE, images=RequestImages())
    assert message in str(caught.value)


def test_values_outside_the_tasks_range_are_let_through():
    body = {"instances": [[-5, 1e9, 0]] * NUM_INSTANCES_MAX}
    inputs = parse_instances(body, schema=THREE, images=RequestImages())
    assert inputs["v"].to_pylist() == body["instances"] and inputs["v"].type == pa.list_(pa.float64())


@pytest.mark.parametrize(
    "tensor",
    [
        pytest.param(np.zeros((2, 4)), id="features"),
        pytest.param(np.zeros(3), id="no-batch"),
        pytest.param(np.zeros((0, 3)), id="no-instance"),
        pytest.param(np.array([["a", "b", "c"]]), id="text"),
        pytest.param(np.ones((1, 3), dtype=bool), id="bools"),
        pytest.param(np.full((1, 3), np.nan), id="nan"),
    ],
)
def test_a_wrong_tensor_is_refused(tensor):
    with pytest.raises(errors.DataRejected):
        parse_tensor(tensor, num_features=3)


@pytest.mark.parametrize(
    ("command", "name"),
    [
        pytest.param(("serve", "--model_name=a"), "a", id="one-word"),
        pytest.param(("serve", "--model_name", "a", "--http_port", "80"), "a", id="two-words"),
        pytest.param(("serve", "--model_name=a", "--model_name=b"), "b", id="the-last-counts"),
        pytest.param(("serve", "--port", "80"), "", id="none"),
    ],
)
def test_readiness_is_asked_of_the_model_that_the_server_was_told_to_serve(command, name):
    assert model_name_of(command) == name
