"""What a task may ask of its pod. There is none here: each answer is a constant that could stand there. Pure.

Sources: kubeflow/pipelines, backend/src/v2/driver/k8s.go, extendPodSpecPatch (FieldPathAsEnv); compiler/argocompiler
(common.go, commonEnvs, retryIndexEnv; container.go, addContainerExecutorTemplate: the names of templates; argo.go,
Compile: the metadata of pods); Argo Workflows, workflow/util/pod_name.go; Kubernetes,
the downward API.
"""

import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass

from embedded.control_plane.engine.kubernetes_spec import PodMetadata
from embedded.control_plane.errors import DataRejected

NAMESPACE = "kubeflow"
SERVICE_ACCOUNT = "pipeline-runner"
"""Both as KFP's own manifests name them."""
_LONGEST_NAME = 253
_SUBSCRIPT = re.compile(r"metadata\.(labels|annotations)\['([^']+)'\]")
_FNV_OFFSET, _FNV_PRIME = 2166136261, 16777619


@dataclass(frozen=True)
class Pod:
    """The pod of one attempt. job: values of placeholders of the run. path: of the task. attempt: from 0.
    is_retried: the task has a retry policy.
    """

    job: Mapping[str, str]
    path: str
    attempt: int
    metadata: PodMetadata | None = None
    is_retried: bool = False

    @property
    def name(self) -> str:
        node = f"{self._workflow}.{self.path.replace('/', '.')}({self.attempt})"
        digits = str(_fnv1a(node.encode()))
        return f"{self._workflow}-{self._template}"[: _LONGEST_NAME - len(digits) - 1] + f"-{digits}"

    @property
    def uid(self) -> str:
        return str(uuid.uuid5(uuid.NAMESPACE_OID, f"{self.job['pipeline_job_uuid']}/{self.path}({self.attempt})"))

    def variables(self) -> dict[str, str]:
        """What every container of a component finds in its environment."""
        index = {"KFP_RETRY_INDEX": str(self.attempt)} if self.is_retried else {}
        return {"KFP_POD_NAME": self.name, "KFP_POD_UID": self.uid, **index}

    def field(self, path: str) -> str:
        """The value of a field; a label or annotation that is not there is empty, as on a cluster."""
        if match := _SUBSCRIPT.fullmatch(path):
            known = self._labels() if match[1] == "labels" else self._annotations()
            return known.get(match[2], "")
        return self._fields()[path]

    @property
    def _workflow(self) -> str:
        return self.job["pipeline_job_resource_name"]

    @property
    def _template(self) -> str:
        """A cluster has one template for all tasks that are alike in these respects."""
        metadata = self.metadata
        counts = f"metadata-{len(metadata.annotations)}-{len(metadata.labels)}-" if metadata else ""
        return f"{counts}{'retry-' if self.is_retried else ''}system-container-impl"

    def _fields(self) -> dict[str, str]:
        return {**_CONSTANTS, "metadata.name": self.name, "metadata.uid": self.uid}

    def _labels(self) -> dict[str, str]:
        ours = {
            "pipeline/runid": self.job["pipeline_job_uuid"],
            "pipelines.kubeflow.org/v2_component": "true",
            "workflows.argoproj.io/completed": "false",
            "workflows.argoproj.io/workflow": self._workflow,
        }
        return {**ours, **(self.metadata.labels if self.metadata else {})}

    def _annotations(self) -> dict[str, str]:
        ours = {
            "pipelines.kubeflow.org/run_name": self.job["pipeline_job_name"],
            "pipelines.kubeflow.org/v2_component": "true",
        }
        return {**ours, **(self.metadata.annotations if self.metadata else {})}


def check_field_path(path: str, *, where: str) -> None:
    """DataRejected for a field that Kubernetes gives no variable."""
    known = {*_CONSTANTS, "metadata.name", "metadata.uid"}
    if path not in known and not _SUBSCRIPT.fullmatch(path):
        raise DataRejected(
            f"{where}: the field path {path!r} is none that a variable can have. Use one of "
            f"{', '.join(sorted(known))}, metadata.labels['…'] or metadata.annotations['…']."
        )


def _fnv1a(text: bytes) -> int:
    """FNV-1a of 32 bits."""
    digest = _FNV_OFFSET
    for byte in text:
        digest = ((digest ^ byte) * _FNV_PRIME) & 0xFFFFFFFF
    return digest


_CONSTANTS = {
    "metadata.namespace": NAMESPACE,
    "spec.nodeName": "localhost",
    "spec.serviceAccountName": SERVICE_ACCOUNT,
    "status.hostIP": "127.0.0.1",
    "status.hostIPs": "127.0.0.1",
    "status.podIP": "127.0.0.1",
    "status.podIPs": "127.0.0.1",
}
