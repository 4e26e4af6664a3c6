"""Settings without a meaning on one machine that a cluster reads all the same: what fails there fails here too. Pure.

Sources: kubeflow/pipelines, backend/src/v2/driver/k8s.go (extendPodSpecPatch, createPVC), driver/driver.go
(validateVolumeMounts), compiler/argocompiler/spec_patch.go (validateKubernetesSecurityContext).
"""

from collections.abc import Mapping
from typing import Any

from embedded.control_plane.engine.kubernetes_spec import KubernetesExecutor
from embedded.control_plane.engine.mounts import mount_paths_of
from embedded.control_plane.engine.resources import parse_quantity
from embedded.control_plane.engine.workspace import WORKSPACE_PATH
from embedded.control_plane.errors import DataRejected

_PULL_POLICIES = ("Always", "Never", "IfNotPresent")
_ACCESS_MODES = ("ReadWriteOnce", "ReadOnlyMany", "ReadWriteMany", "ReadWriteOncePod")


def check_cluster_settings(kubernetes: KubernetesExecutor, *, has_workspace: bool, where: str) -> None:
    """DataRejected for the first setting with which no task could start on a cluster."""
    policy = kubernetes.image_pull_policy
    if policy and policy not in _PULL_POLICIES:
        raise DataRejected(f"{where}: imagePullPolicy is {policy!r}; use one of {', '.join(_PULL_POLICIES)}.")
    for number, secret in enumerate(kubernetes.image_pull_secret or ()):
        if not isinstance(secret, Mapping) or not (secret.get("secretName") or secret.get("secretNameParameter")):
            raise DataRejected(f"{where}: imagePullSecret {number} has no secretName. Name the Secret.")
    _check_user(kubernetes.security_context, where=where)
    for volume in kubernetes.empty_dir_mounts:
        if volume.size_limit:
            parse_quantity(volume.size_limit, where=f"{where}: the size limit of emptyDir {volume.volume_name!r}")
    for claim in kubernetes.generic_ephemeral_volume:
        parse_quantity(claim.size, where=f"{where}: the size of the ephemeral volume {claim.volume_name!r}")
    if has_workspace and (taken := [path for path in mount_paths_of(kubernetes) if path.startswith(WORKSPACE_PATH)]):
        raise DataRejected(f"{where}: the mount path {taken[0]!r} is that of the workspace. Use another one.")


def check_claim_inputs(given: Mapping[str, Any]) -> None:
    """DataRejected for inputs of CreatePVC from which a cluster makes no claim. given: parameters of the task."""
    if given.get("pvc_name") and given.get("pvc_name_suffix"):
        raise DataRejected("pvc_name and pvc_name_suffix are both given: a claim has one of them. Leave one out.")
    modes = given.get("access_modes")
    if not isinstance(modes, list) or not modes or any(mode not in _ACCESS_MODES for mode in modes):
        raise DataRejected(f"access_modes is {modes!r}; give a list of {', '.join(_ACCESS_MODES)}.")
    if parse_quantity(str(given.get("size") or ""), where="the size of the claim") <= 0:
        raise DataRejected(f"the size of the claim is {given['size']!r}; it must be above 0.")


def _check_user(context: Any, *, where: str) -> None:
    """64-bit integers may be text in JSON of protobuf."""
    if isinstance(context, Mapping) and context.get("runAsNonRoot") is True and str(context.get("runAsUser")) == "0":
        raise DataRejected(f"{where}: runAsUser is 0 (root), and runAsNonRoot is true. Leave one of them out.")
