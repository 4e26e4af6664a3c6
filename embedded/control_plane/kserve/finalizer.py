"""KServe's finalizer: its controller puts it on every InferenceService, and takes it off when one is to be deleted.

So a deletion is an answer first and a fact a moment later, as on a cluster.
"""

from collections.abc import Mapping
from typing import Any

from embedded.control_plane.kubernetes.apply import track_update
from embedded.control_plane.kubernetes.managed_fields import parse_managed_fields, render_managed_fields

KSERVE_FINALIZER = "inferenceservice.finalizers"
_MANAGER = "manager"
"""What KServe's controller is called in `managedFields`."""


def tended(manifest: Mapping[str, Any], *, now: str) -> dict[str, Any] | None:
    """The manifest with or without the finalizer, as it should be; None when it is so already. Pure."""
    metadata = manifest["metadata"]
    finalizers = list(metadata.get("finalizers") or [])
    is_ending = "deletionTimestamp" in metadata
    if is_ending != (KSERVE_FINALIZER in finalizers):
        return None
    kept = [each for each in finalizers if each != KSERVE_FINALIZER] + ([] if is_ending else [KSERVE_FINALIZER])
    changed = {**manifest, "metadata": {**metadata, "finalizers": kept}}
    if not kept:
        del changed["metadata"]["finalizers"]
    owners = parse_managed_fields(metadata.get("managedFields")) or ()
    managed = render_managed_fields(track_update(manifest, changed, owners, manager=_MANAGER, now=now))
    if managed:
        changed["metadata"]["managedFields"] = managed
    return changed
