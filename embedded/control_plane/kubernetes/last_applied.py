"""The annotation in which `kubectl apply` keeps what it applied last, where it meets server-side apply. Pure.

Sources in kubernetes/kubernetes, staging/src/k8s.io/apimachinery/pkg/util/managedfields/internal:
lastappliedmanager.go (`allowedConflictsFromLastApplied`), lastappliedupdater.go (`Apply`).
"""

import json
from collections.abc import Mapping
from typing import Any

from embedded.control_plane.kubernetes.field_paths import Path, same_fields

ANNOTATION = "kubectl.kubernetes.io/last-applied-configuration"
MANAGER = "kubectl"
"""Only this manager speaks for the annotation; whoever applies under another name leaves it alone."""
_BYTES_MAX = 256 * 1024
"""Of all annotations of an object together, in Kubernetes; without this one, kubectl merges by what is there."""


def forgiven_fields(live: Mapping[str, Any], manager: str) -> frozenset[Path]:
    """Fields that kubectl applied on the client's side and that are still as it applied them: it takes them over from
    its own former name without force."""
    annotations = (live.get("metadata") or {}).get("annotations") or {}
    if manager != MANAGER or ANNOTATION not in annotations:
        return frozenset()
    try:
        applied = json.loads(annotations[ANNOTATION])
    except (ValueError, RecursionError):
        return frozenset()
    is_object = isinstance(applied, Mapping) and isinstance(applied.get("metadata"), Mapping)
    is_object = is_object and applied.get("apiVersion") == live.get("apiVersion")
    return same_fields(live, applied) if is_object else frozenset()


def keep_last_applied(merged: dict[str, Any], config: Mapping[str, Any], manager: str) -> dict[str, Any]:
    """The annotation follows what is applied on the server's side, so that a client-side apply can come after."""
    annotations = merged["metadata"].get("annotations") or {}
    if manager != MANAGER or ANNOTATION not in annotations:
        return merged
    own = {key: value for key, value in (config["metadata"].get("annotations") or {}).items() if key != ANNOTATION}
    metadata = {key: value for key, value in config["metadata"].items() if key != "annotations"}
    applied = {**config, "metadata": {**metadata, **({"annotations": own} if own else {})}}
    text = json.dumps(applied, separators=(",", ":"), sort_keys=True) + "\n"
    kept = {key: value for key, value in annotations.items() if key != ANNOTATION}
    kept |= {ANNOTATION: text} if len(text) <= _BYTES_MAX else {}
    return {**merged, "metadata": {**merged["metadata"], "annotations": kept}}
