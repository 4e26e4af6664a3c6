"""What both of KServe's modes share: InferenceService objects, read with care, and how a deletion ends.

An object on a cluster may be another program's, or half of one: what is absent or of another type is read as absent.
"""

import time
from collections.abc import Callable, Mapping
from typing import Any

from ratchet.adapters.kubernetes_api import KubernetesApi
from ratchet.core.errors import NotFound, Unavailable
from ratchet.core.uris import digest_in
from ratchet.settings import MODEL_DIGEST_VARIABLE

MODEL_FORMAT = RUNTIME = "ratchet"
"""The model format of our models, and the ServingRuntime that serves it (deploy/base/serving-runtime.yaml)."""
GROUP_VERSION = "serving.kserve.io/v1beta1"
PLURAL = "inferenceservices"
DELETED_S_MAX = 60.0
"""How long a deletion may take. KServe's own finalizer takes about a second."""
_POLL_S, _POLL_S_MAX = 0.02, 1.0
"""Between looks: the embedded API is done in milliseconds, a cluster in a second or many."""
Object = dict[str, Any]


def mapping_at(value: Any, path: str) -> Mapping[str, Any]:
    """`mapping_at(service, "status.components.predictor")`; {} when there is none."""
    for name in path.split("."):
        value = value.get(name) if isinstance(value, Mapping) else None
    return value if isinstance(value, Mapping) else {}


def mappings_in(value: Any) -> list[Mapping[str, Any]]:
    """The objects in a list; [] when it is none."""
    return [each for each in value if isinstance(each, Mapping)] if isinstance(value, list) else []


def conditions_of(status: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    return {str(each["type"]): each for each in mappings_in(status.get("conditions")) if "type" in each}


def is_ending(found: Mapping[str, Any]) -> bool:
    """Whether it is being deleted: it may go on for a while, but whatever is written to it goes with it."""
    return bool(mapping_at(found, "metadata").get("deletionTimestamp"))


def is_observed(metadata: Mapping[str, Any], status: Mapping[str, Any]) -> bool:
    """Whether the status is about the latest spec. A server that numbers neither is believed; one without any status
    has not looked yet."""
    generation, observed = metadata.get("generation"), status.get("observedGeneration")
    if not isinstance(generation, int) or not isinstance(observed, int):
        return bool(status)
    return observed >= generation


def render_model(storage_uri: str) -> Object:
    """`spec.predictor.model`. The server is told which digest it must find, where the URI ends in one: only then does
    it run the code and the weights that were downloaded."""
    model = {"modelFormat": {"name": MODEL_FORMAT}, "runtime": RUNTIME, "storageUri": storage_uri}
    digest = digest_in(storage_uri)
    return {**model, "env": [{"name": MODEL_DIGEST_VARIABLE, "value": digest}]} if digest else model


def storage_uri_of(predictor: Mapping[str, Any]) -> str:
    """Of a `model`, or of the variable by which KServe gives a custom container its model."""
    if "model" in predictor:
        return str(mapping_at(predictor, "model").get("storageUri") or "")
    containers = mappings_in(predictor.get("containers"))
    variables = [each for container in containers for each in mappings_in(container.get("env"))]
    return next((str(each.get("value") or "") for each in variables if each.get("name") == "STORAGE_URI"), "")


def message_of(conditions: Mapping[str, Mapping[str, Any]]) -> str:
    """Why it is not ready: the first of the conditions that says so, the closest to the cause first."""
    for name in ("PredictorConfigurationReady", "PredictorReady", "IngressReady", "Ready"):
        condition = conditions.get(name, {})
        if condition.get("status", "True") != "True" and condition.get("message"):
            return str(condition["message"])
    return ""


def delete_and_wait(api: KubernetesApi, paths: list[str], *, within_s: float = DELETED_S_MAX) -> None:
    """Delete these in order, and wait until each is gone. Nothing happens to what is gone already.

    A cluster only notes that an object shall go; it goes when the last finalizer is taken off."""
    for path, uid in [(path, _delete(api, path)) for path in paths]:
        if uid:
            wait_gone(api, path, uid=uid, within_s=within_s)


def wait_gone(api: KubernetesApi, path: str, *, uid: str, within_s: float) -> None:
    """Until the object of this uid is no more. Unavailable when it is still there after `within_s`."""
    found: Mapping[str, Any] | None = None

    def is_gone() -> bool:
        nonlocal found
        found = find(api, path)
        return found is None or str(mapping_at(found, "metadata").get("uid") or "") != uid

    if not wait_until(is_gone, within_s=within_s):
        held = ", ".join(mapping_at(found, "metadata").get("finalizers") or []) or "none"
        raise Unavailable(
            f"{path} is still being deleted after {within_s:g} s; its finalizers: {held}. Their owners must take them "
            "off: check that the controllers run (KServe's takes off inferenceservice.finalizers)."
        )


def find(api: KubernetesApi, path: str) -> Object | None:
    """None when it is not there."""
    try:
        return api.request("GET", path)
    except NotFound:
        return None


def wait_until(is_so: Callable[[], bool], *, within_s: float) -> bool:
    """Whether it has become so in time; asked less and less often."""
    ends_at, poll_s = time.monotonic() + within_s, _POLL_S
    while not is_so():
        if time.monotonic() >= ends_at:
            return False
        time.sleep(poll_s)
        poll_s = min(_POLL_S_MAX, poll_s * 1.5)
    return True


def _delete(api: KubernetesApi, path: str) -> str:
    """The uid of what goes on for a while, which is then the answer; "" when it is gone, and the answer a Status."""
    try:
        answer = api.request("DELETE", path)
    except NotFound:
        return ""
    return str(mapping_at(answer, "metadata").get("uid") or "")
