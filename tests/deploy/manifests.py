"""What may be in a manifest of ours: pure checks of rendered objects. Each gives sentences that name what is wrong."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

Object = Mapping[str, Any]
OURS = "ghcr.io/ratchet/"
_DIGEST = re.compile(r"@sha256:[0-9a-f]{64}$")


class PodTemplate(NamedTuple):
    owner: str
    """Kind and name of what makes such pods."""
    namespace: str
    spec: Object


def name_of(each: Object) -> str:
    return f"{each['kind']} {each['metadata']['name']}"


def pod_templates(objects: Sequence[Object]) -> Iterator[PodTemplate]:
    """Of every kind that makes pods of our images. A ServingRuntime's spec is the pod's."""
    for each in objects:
        namespace = each["metadata"].get("namespace", "")
        if each["kind"] in {"Deployment", "StatefulSet", "DaemonSet", "Job"}:
            yield PodTemplate(name_of(each), namespace, each["spec"]["template"]["spec"])
        elif each["kind"] in {"ServingRuntime", "ClusterServingRuntime"}:
            yield PodTemplate(name_of(each), namespace, each["spec"])


def privileges(pod: PodTemplate) -> list[str]:
    """What keeps it from the Pod Security Standard `restricted`, and from a root that cannot be written."""
    shared = pod.spec.get("securityContext", {})
    found = [f"{pod.owner}: {field}" for field in ("hostNetwork", "hostPID", "hostIPC") if pod.spec.get(field)]
    found += [
        f"{pod.owner}: volume {volume['name']} is a {kind}"
        for volume in pod.spec.get("volumes", ())
        for kind in set(volume) - {"name", *_VOLUMES}
    ]
    for container in _containers_of(pod):
        own = container.get("securityContext", {})
        both = {**shared, **own}
        what = f"{pod.owner}, container {container['name']}"
        wanted = {
            "runs as root": both.get("runAsNonRoot") is not True or both.get("runAsUser", 1) == 0,
            "may gain privileges": own.get("allowPrivilegeEscalation") is not False,
            "is privileged": bool(own.get("privileged")),
            "keeps capabilities": own.get("capabilities", {}).get("drop") != ["ALL"],
            "adds capabilities": set(own.get("capabilities", {}).get("add", ())) - {"NET_BIND_SERVICE"},
            "has no seccomp profile": both.get("seccompProfile", {}).get("type") not in {"RuntimeDefault", "Localhost"},
            "can write its root": own.get("readOnlyRootFilesystem") is not True,
            "takes a port of the host": any(port.get("hostPort") for port in container.get("ports", ())),
        }
        found += [f"{what} {words}" for words, is_so in wanted.items() if is_so]
    return found


_VOLUMES = {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"}
"""Kinds of volumes that the standard allows."""


def without_limits(pod: PodTemplate) -> list[str]:
    """Containers that may eat a node's memory, or are placed without a word about what they need."""
    found = []
    for container in _containers_of(pod):
        resources = container.get("resources", {})
        for at, name in (("requests", "cpu"), ("requests", "memory"), ("limits", "memory")):
            if name not in resources.get(at, {}):
                found.append(f"{pod.owner}, container {container['name']}: no {at}.{name}")
    return found


def images_of(pod: PodTemplate) -> list[str]:
    return [container["image"] for container in _containers_of(pod)]


def loose_images(pod: PodTemplate, *, version: str | None) -> list[str]:
    """Images that may be another one tomorrow: all that no digest names. version: a tag that is accepted of ours, as
    long as the images of this version are not built."""
    return [
        f"{pod.owner}: {image} has no digest"
        for image in images_of(pod)
        if not _DIGEST.search(image) and not (version and image.startswith(OURS) and image.endswith(f":{version}"))
    ]


def settings_by_accident(pod: PodTemplate, objects: Sequence[Object]) -> list[str]:
    """Services whose variables a pod would take for settings: Kubernetes puts SENSOR_PORT and the like into each pod of
    a Service's namespace, and a setting that is unknown is refused."""
    if pod.spec.get("enableServiceLinks") is False:
        return []
    return [
        f"{pod.owner}: {name_of(each)} gives it variables that begin with RATCHET_"
        for each in objects
        if each["kind"] == "Service"
        and each["metadata"].get("namespace", "") == pod.namespace
        and each["metadata"]["name"].startswith("ratchet")
    ]


def dangling(objects: Sequence[Object]) -> list[str]:
    """Names that nothing has: service accounts, Roles of bindings, pods of Services and budgets, namespaces."""
    names = {(each["kind"], each["metadata"].get("namespace", ""), each["metadata"]["name"]) for each in objects}
    wanted = [
        (pod.owner, ("ServiceAccount", pod.namespace, pod.spec["serviceAccountName"]))
        for pod in pod_templates(objects)
        if "serviceAccountName" in pod.spec
    ]
    wanted += [(name_of(each), key) for each in objects for key in _named_by(each)]
    found = [f"{owner}: no {key[0]} {key[2]}" for owner, key in wanted if key not in names]
    for each in objects:
        if each["kind"] in {"Service", "PodDisruptionBudget"}:
            selector = each["spec"]["selector"]
            if not _selects(selector.get("matchLabels", selector), each["metadata"].get("namespace", ""), objects):
                found.append(f"{name_of(each)} selects no pod")
    return found


def _named_by(each: Object) -> Iterator[tuple[str, str, str]]:
    """Kind, namespace and name of the objects that it needs."""
    namespace = each["metadata"].get("namespace", "")
    if namespace:
        yield "Namespace", "", namespace
    if each["kind"] == "RoleBinding":
        yield each["roleRef"]["kind"], namespace, each["roleRef"]["name"]
        for subject in each["subjects"]:
            yield subject["kind"], subject["namespace"], subject["name"]


def _selects(labels: Object, namespace: str, objects: Sequence[Object]) -> bool:
    return any(
        each["kind"] == "Deployment"
        and each["metadata"].get("namespace", "") == namespace
        and labels.items() <= each["spec"]["template"]["metadata"]["labels"].items()
        for each in objects
    )


_WIDE = {"*", "secrets", "pods/exec", "escalate", "impersonate", "bind"}


def wide_rights(objects: Sequence[Object]) -> list[str]:
    """Rules with a star, rules about secrets, and rights over the whole cluster."""
    found = [name_of(each) for each in objects if each["kind"] in {"ClusterRole", "ClusterRoleBinding"}]
    for each in objects:
        for rule in each.get("rules", ()) if each["kind"] == "Role" else ():
            words = [*rule["apiGroups"], *rule["resources"], *rule["verbs"]]
            if (
                "*" in words
                or {"secrets", "pods/exec"} & set(words)
                or {"escalate", "impersonate", "bind"} & set(words)
            ):
                found.append(f"{name_of(each)}: {rule}")
    return found


def _containers_of(pod: PodTemplate) -> list[Object]:
    return [*pod.spec.get("initContainers", ()), *pod.spec["containers"]]
