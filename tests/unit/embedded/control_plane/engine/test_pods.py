"""What a cluster would have around a task's process: its pod's fields, its workspace, its init containers."""

import re
import uuid
from typing import Any

import pytest

from embedded.control_plane.engine.kubernetes_spec import Pipeline, PodMetadata
from embedded.control_plane.engine.loading import load_pipeline
from embedded.control_plane.engine.pod_fields import Pod, check_field_path
from embedded.control_plane.engine.spec import Task
from embedded.control_plane.engine.values import Artifact, Values
from embedded.control_plane.engine.workspace import imported_path, needs_workspace, workspace_claim
from embedded.control_plane.errors import DataRejected

JOB = {
    "pipeline_job_name": "a run",
    "pipeline_job_resource_name": "pipeline-abcde",
    "pipeline_job_uuid": "7a7c8d2e-0000-4000-8000-000000000000",
}
METADATA = PodMetadata(labels={"colour": "green"}, annotations={"pipelines.kubeflow.org/run_name": "mine"})


def pod(path: str = "loop/0/train", attempt: int = 0, *, is_retried: bool = False) -> Pod:
    return Pod(JOB, path, attempt, METADATA, is_retried)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("metadata.namespace", "kubeflow"),
        ("spec.serviceAccountName", "pipeline-runner"),
        ("status.podIP", "127.0.0.1"),
        ("metadata.labels['colour']", "green"),
        ("metadata.labels['pipeline/runid']", JOB["pipeline_job_uuid"]),
        ("metadata.labels['none']", ""),
        ("metadata.annotations['pipelines.kubeflow.org/run_name']", "mine"),
    ],
)
def test_field_of_a_pod_is_what_a_cluster_would_give(field: str, value: str) -> None:
    """Source: kubeflow/pipelines, backend/src/v2/driver/k8s.go, extendPodSpecPatch (FieldPathAsEnv)."""
    check_field_path(field, where="here")
    assert pod().field(field) == value


def test_each_attempt_of_each_task_is_a_pod_of_its_own_and_keeps_its_name() -> None:
    pods = [pod(path, attempt) for path in ("a", "b/0/a") for attempt in (0, 1)]
    assert len({each.name for each in pods}) == len({each.uid for each in pods}) == 4
    assert [each.name for each in pods] == [pod(each.path, each.attempt).name for each in pods]
    assert pod().variables() == {"KFP_POD_NAME": pod().name, "KFP_POD_UID": str(uuid.UUID(pod().uid))}


@pytest.mark.parametrize(
    ("metadata", "is_retried", "template"),
    [
        (None, False, "system-container-impl"),
        (None, True, "retry-system-container-impl"),
        (METADATA, False, "metadata-1-1-system-container-impl"),
        (METADATA, True, "metadata-1-1-retry-system-container-impl"),
    ],
)
def test_name_of_a_pod_has_the_template_that_a_cluster_makes_for_such_tasks(
    metadata: PodMetadata | None, is_retried: bool, template: str
) -> None:
    """Source: kubeflow/pipelines, backend/src/v2/compiler/argocompiler/container.go, addContainerExecutorTemplate."""
    name = Pod(JOB, "train", 0, metadata, is_retried).name
    assert re.fullmatch(rf"pipeline-abcde-{template}-\d+", name)


@pytest.mark.parametrize(
    ("policy", "index"), [({}, None), ({"retryPolicy": {}}, "2"), ({"retryPolicy": {"maxRetryCount": 3}}, "2")]
)
def test_task_with_a_retry_policy_knows_the_number_of_its_attempt_and_no_other_does(
    policy: dict[str, Any], index: str | None
) -> None:
    """Source: kubeflow/pipelines, backend/src/v2/compiler/argocompiler/common.go, retryIndexEnv."""
    task = Task.model_validate({"componentRef": {"name": "a"}, **policy})
    assert pod(attempt=2, is_retried=task.has_retry_policy).variables().get("KFP_RETRY_INDEX") == index


@pytest.mark.parametrize("field", ["spec.containers", "metadata.labels", "metadata.labels[x]", "", "status.phase"])
def test_field_that_kubernetes_gives_no_variable_is_refused(field: str) -> None:
    with pytest.raises(DataRejected, match="here: the field path"):
        check_field_path(field, where="here")


ARTIFACT = Artifact(id="1", name="data", type={}, uri="minio://bucket/a/b")


@pytest.mark.parametrize(
    ("inputs", "is_needed"),
    [
        pytest.param(Values(parameters={"a": "/kfp-workspace/x"}), True, id="its-path"),
        pytest.param(Values(parameters={"a": ["/kfp-workspace/x"]}), False, id="in-a-list"),
        pytest.param(Values(parameters={"a": 1}, artifacts={"b": (ARTIFACT,)}), False, id="none"),
        pytest.param(
            Values(artifacts={"b": (ARTIFACT.model_copy(update={"metadata": {"_kfp_workspace": True}}),)}),
            True,
            id="imported-into-it",
        ),
    ],
)
def test_workspace_is_mounted_for_those_tasks_only_that_a_cluster_mounts_it_for(
    inputs: Values, is_needed: bool
) -> None:
    """Source: kubeflow/pipelines, backend/src/v2/driver/driver.go, needsWorkspaceMount."""
    assert needs_workspace(inputs) is is_needed


def test_names_in_the_workspace_are_those_of_a_cluster(tmp_path: Any) -> None:
    """Source: kubeflow/pipelines, backend/src/v2/component/launcher_v2.go, LocalWorkspacePathForURI."""
    assert imported_path(ARTIFACT, tmp_path) == tmp_path / ".artifacts/minio/bucket/a/b"
    of_google = ARTIFACT.model_copy(update={"uri": "gs://bucket/a"})
    assert imported_path(of_google, tmp_path) == tmp_path / ".artifacts/gcs/bucket/a"
    assert workspace_claim("pipeline-abcde") == "pipeline-abcde-kfp-workspace"


def load(*, constant: Any = "x", executor: Any = None, platform: Any = None, **changed: Any) -> Pipeline:
    """A pipeline of one task."""
    container = {"image": "python:3.11", "command": ["true"]}
    spec = {
        "pipelineInfo": {"name": "one"},
        "schemaVersion": "2.1.0",
        "components": {
            "comp-a": {
                "executorLabel": "exec-a",
                "inputDefinitions": {"parameters": {"p": {"parameterType": "STRING"}}},
            }
        },
        "deploymentSpec": {"executors": {"exec-a": executor or {"container": container}}},
        "root": {
            "dag": {
                "tasks": {
                    "a": {
                        "componentRef": {"name": "comp-a"},
                        "inputs": {"parameters": {"p": {"runtimeValue": {"constant": constant}}}},
                    }
                }
            }
        },
    }
    kubernetes = {"deploymentSpec": {"executors": {"exec-a": platform or {}}}}
    return load_pipeline(
        {"pipeline_spec": {**spec, **changed}, "platform_spec": {"platforms": {"kubernetes": kubernetes}}}
    )


INIT = {"name": "prepare", "image": "busybox", "command": ["true"]}


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        pytest.param({"schemaVersion": "2.0.0", "root": {}}, "'2.0.0' is not supported; this backend", id="schema"),
        pytest.param({"constant": "{{$.workspace_path}}/a"}, "task a needs the workspace", id="no-workspace"),
        pytest.param(
            {"executor": {"importer": {"artifactUri": {"constant": "s3://b/x"}, "downloadToWorkspace": True}}},
            "executor exec-a needs the workspace",
            id="import-without-workspace",
        ),
        pytest.param({"platform": {"initContainers": [INIT, INIT]}}, "no name of its own", id="init-twice"),
        pytest.param({"platform": {"initContainers": [{**INIT, "command": []}]}}, "entry point", id="init-image-alone"),
        pytest.param(
            {"platform": {"initContainers": [{**INIT, "restartPolicy": "Always"}]}}, "is a sidecar", id="sidecar"
        ),
        pytest.param(
            {"platform": {"initContainers": [{**INIT, "volumeMounts": [{"volumeName": "x", "mountPath": "/x"}]}]}},
            "mounts 'x', which is no volume",
            id="init-without-volume",
        ),
    ],
)
def test_what_could_not_run_is_refused_by_name(changes: dict[str, Any], named: str) -> None:
    with pytest.raises(DataRejected, match=named):
        load(**changes)


def test_job_of_kfp_1_is_refused_by_its_schema() -> None:
    with pytest.raises(DataRejected, match=r"schemaVersion '2\.0\.0'"):
        load_pipeline({"pipelineSpec": {"schemaVersion": "2.0.0"}, "runtimeConfig": {}})
