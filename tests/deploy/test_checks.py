"""The checks of manifests find what they are for."""

from typing import Any

import pytest

from tests.deploy.manifests import (
    PodTemplate,
    dangling,
    loose_images,
    privileges,
    settings_by_accident,
    wide_rights,
    without_limits,
)

DIGEST = "@sha256:" + "a" * 64
SAFE = {
    "runAsNonRoot": True,
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
    "seccompProfile": {"type": "RuntimeDefault"},
}


def pod(*, container: dict[str, Any] | None = None, security: dict[str, Any] | None = None, **spec: Any) -> PodTemplate:
    own = {"name": "c", "image": "x", "securityContext": {**SAFE, **(security or {})}, **(container or {})}
    return PodTemplate("Job j", "n", {"containers": [own], **spec})


def named(kind: str, name: str, **more: Any) -> dict[str, Any]:
    return {"kind": kind, "metadata": {"name": name, "namespace": more.pop("namespace", "n")}, **more}


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (pod(), []),
        (pod(security={"runAsNonRoot": None}), ["runs as root"]),
        (pod(security={"runAsUser": 0}), ["runs as root"]),
        (pod(security={"allowPrivilegeEscalation": True}), ["may gain privileges"]),
        (pod(security={"privileged": True}), ["is privileged"]),
        (pod(security={"capabilities": {}}), ["keeps capabilities"]),
        (pod(security={"capabilities": {"drop": ["ALL"], "add": ["SYS_ADMIN"]}}), ["adds capabilities"]),
        (pod(security={"capabilities": {"drop": ["ALL"], "add": ["NET_BIND_SERVICE"]}}), []),
        (pod(security={"seccompProfile": {"type": "Unconfined"}}), ["has no seccomp profile"]),
        (pod(security={"readOnlyRootFilesystem": False}), ["can write its root"]),
        (pod(container={"ports": [{"hostPort": 80}]}), ["takes a port of the host"]),
        (pod(hostNetwork=True), ["hostNetwork"]),
        (pod(volumes=[{"name": "v", "hostPath": {"path": "/"}}]), ["volume v is a hostPath"]),
        (pod(volumes=[{"name": "v", "emptyDir": {}}]), []),
        (pod(initContainers=[{"name": "i", "image": "x"}]), ["runs as root"]),
    ],
)
def test_what_the_restricted_standard_forbids_is_named(given, words):
    found = privileges(given)
    assert bool(found) == bool(words) and all(any(word in each for each in found) for word in words)


@pytest.mark.parametrize(
    ("resources", "num_missing"),
    [
        ({}, 3),
        ({"requests": {"cpu": "1", "memory": "1Gi"}}, 1),
        ({"requests": {"cpu": "1", "memory": "1Gi"}, "limits": {"memory": "1Gi"}}, 0),
        ({"limits": {"memory": "1Gi"}}, 2),
    ],
)
def test_a_missing_limit_is_named(resources, num_missing):
    assert len(without_limits(pod(container={"resources": resources}))) == num_missing


@pytest.mark.parametrize(
    ("image", "version", "is_loose"),
    [
        ("ghcr.io/ratchet/sensor" + DIGEST, None, False),
        ("ghcr.io/ratchet/sensor:0.1.0" + DIGEST, None, False),
        ("ghcr.io/ratchet/sensor:0.1.0", "0.1.0", False),
        ("ghcr.io/ratchet/sensor:0.1.0", None, True),
        ("ghcr.io/ratchet/sensor:latest", "0.1.0", True),
        ("ghcr.io/ratchet/sensor", "0.1.0", True),
        ("ghcr.io/others/sensor:0.1.0", "0.1.0", True),
        ("ghcr.io/ratchet/sensor@sha256:abc", "0.1.0", True),
    ],
)
def test_an_image_that_may_change_is_named(image, version, is_loose):
    assert bool(loose_images(pod(container={"image": image}), version=version)) is is_loose


def test_a_service_whose_variables_look_like_settings_is_named():
    service = named("Service", "ratchet-sensor")
    assert settings_by_accident(pod(), [service]) == [
        "Job j: Service ratchet-sensor gives it variables that begin with RATCHET_"
    ]
    assert settings_by_accident(pod(enableServiceLinks=False), [service]) == []
    assert settings_by_accident(pod(), [named("Service", "ratchet-sensor", namespace="other")]) == []


def test_names_that_lead_nowhere_are_named():
    binding = named(
        "RoleBinding",
        "b",
        roleRef={"kind": "Role", "name": "gone"},
        subjects=[{"kind": "ServiceAccount", "name": "s", "namespace": "n"}],
    )
    service = named("Service", "s", spec={"selector": {"app": "none"}})
    job = named("Job", "j", spec={"template": {"spec": {"containers": [], "serviceAccountName": "t"}}})
    assert dangling([binding, service, job, {"kind": "Namespace", "metadata": {"name": "n"}}]) == [
        "Job j: no ServiceAccount t",
        "RoleBinding b: no Role gone",
        "RoleBinding b: no ServiceAccount s",
        "Service s selects no pod",
    ]
    assert dangling([named("ConfigMap", "c")]) == ["ConfigMap c: no Namespace n"]


@pytest.mark.parametrize(
    ("rule", "is_wide"),
    [
        ({"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}, False),
        ({"apiGroups": [""], "resources": ["secrets"], "verbs": ["get"]}, True),
        ({"apiGroups": ["*"], "resources": ["pods"], "verbs": ["get"]}, True),
        ({"apiGroups": [""], "resources": ["pods/exec"], "verbs": ["create"]}, True),
        ({"apiGroups": [""], "resources": ["serviceaccounts"], "verbs": ["impersonate"]}, True),
    ],
)
def test_wide_rights_are_named(rule, is_wide):
    assert bool(wide_rights([named("Role", "r", rules=[rule])])) is is_wide
    assert wide_rights([named("ClusterRole", "r", rules=[])]) == ["ClusterRole r"]
