"""What has no meaning on one machine, and would stop a task on a cluster, is refused by name."""

from typing import Any

import pytest

from embedded.control_plane.engine.cluster_settings import check_claim_inputs, check_cluster_settings
from embedded.control_plane.engine.kubernetes_spec import KubernetesExecutor
from embedded.control_plane.errors import DataRejected

EPHEMERAL = {"volumeName": "e", "mountPath": "/e", "size": "1Gi"}


def check(settings: dict[str, Any], *, has_workspace: bool = False) -> None:
    kubernetes = KubernetesExecutor.model_validate(settings)
    check_cluster_settings(kubernetes, has_workspace=has_workspace, where="executor a")


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        pytest.param({"imagePullPolicy": "Sometimes"}, "imagePullPolicy is 'Sometimes'", id="pull-policy"),
        pytest.param({"imagePullSecret": [{}]}, "imagePullSecret 0 has no secretName", id="pull-secret"),
        pytest.param({"securityContext": {"runAsUser": "0", "runAsNonRoot": True}}, "runAsUser is 0", id="root"),
        pytest.param({"securityContext": {"runAsUser": 0, "runAsNonRoot": True}}, "runAsUser is 0", id="root-number"),
        pytest.param({"emptyDirMounts": [{"mountPath": "/a", "sizeLimit": "much"}]}, "'much'", id="empty-dir"),
        pytest.param({"genericEphemeralVolume": [EPHEMERAL | {"size": ""}]}, "ephemeral volume 'e'", id="ephemeral"),
    ],
)
def test_setting_with_which_no_task_starts_on_a_cluster_is_refused(settings: dict[str, Any], words: str) -> None:
    """Source: kubeflow/pipelines, backend/src/v2/driver/k8s.go, extendPodSpecPatch."""
    with pytest.raises(DataRejected, match="executor a: ") as refused:
        check(settings)
    assert words in str(refused.value)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"imagePullPolicy": "Never"},
        {"imagePullSecret": [{"secretName": "a"}, {"secretNameParameter": {"componentInputParameter": "b"}}]},
        {"securityContext": {"runAsUser": "0"}},
        {"securityContext": {"runAsUser": "1000", "runAsNonRoot": True}},
        {"securityContext": {"runAsNonRoot": True}},
        {"emptyDirMounts": [{"mountPath": "/a"}, {"mountPath": "/b", "sizeLimit": "1Gi"}]},
        {"genericEphemeralVolume": [EPHEMERAL]},
    ],
)
def test_setting_that_a_cluster_takes_is_let_through(settings: dict[str, Any]) -> None:
    check(settings)


def test_volume_may_stand_at_the_workspaces_place_only_where_there_is_none() -> None:
    """Source: kubeflow/pipelines, backend/src/v2/driver/driver.go, validateVolumeMounts."""
    settings = {"emptyDirMounts": [{"mountPath": "/kfp-workspace/data"}]}
    check(settings)
    with pytest.raises(DataRejected, match="that of the workspace"):
        check(settings, has_workspace=True)


CLAIM: dict[str, Any] = {"pvc_name_suffix": "-a", "access_modes": ["ReadWriteOnce"], "size": "5Gi"}


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"pvc_name": "a"}, "both given"),
        ({"access_modes": None}, "access_modes is None"),
        ({"access_modes": []}, r"access_modes is \[\]"),
        ({"access_modes": ["Everything"]}, "Everything"),
        ({"size": None}, "the size of the claim"),
        ({"size": "big"}, "the size of the claim"),
        ({"size": "0Gi"}, "above 0"),
    ],
)
def test_claim_that_a_cluster_would_not_make_is_refused(changed: dict[str, Any], words: str) -> None:
    """Source: kubeflow/pipelines, backend/src/v2/driver/k8s.go, createPVC; Kubernetes, pkg/apis/core/validation,
    ValidatePersistentVolumeClaimSpec."""
    check_claim_inputs(CLAIM)
    with pytest.raises(DataRejected, match=words):
        check_claim_inputs(CLAIM | changed)
