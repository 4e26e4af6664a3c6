"""The runtimes that TrainJobs name: one is built in, others are created."""

from collections.abc import Mapping
from typing import Any

from embedded.control_plane.kubernetes.core import CoreObjects
from embedded.control_plane.kubernetes.errors import FieldError
from embedded.control_plane.kubernetes.kinds import CLUSTER_TRAINING_RUNTIMES, TRAINING_RUNTIMES

_KINDS = {kind.kind: kind for kind in (CLUSTER_TRAINING_RUNTIMES, TRAINING_RUNTIMES)}


def runtime_spec_of(core: CoreObjects, reference: Mapping[str, Any], namespace: str) -> Mapping[str, Any]:
    """FieldError when there is no such runtime."""
    kind = _KINDS.get(reference["kind"])
    if kind is None or reference["apiGroup"] != kind.group:
        text = f"unsupported runtime: {reference['kind']}.{reference['apiGroup']}"
        raise FieldError("spec.runtimeRef", text, reason="FieldValueNotSupported")
    found = core.fetch(kind, namespace if kind.is_namespaced else "", reference["name"])
    if found is None:
        raise FieldError("spec.runtimeRef", f"{kind.kind} {reference['name']!r} does not exist")
    spec: Mapping[str, Any] = found["spec"]
    return spec
