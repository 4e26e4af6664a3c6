"""InferenceServices over the Kubernetes REST API: KServe on a cluster, the embedded control plane on one machine.

Plain HTTP, because importing the `kserve` client costs 1.7 s in each short-lived step. This is KServe's Knative mode;
its Standard mode is in kserve_standard.py.

Where `canaryTrafficPercent` is not understood, by the server's definition or in another mode, a new model would get all
traffic at once. So a change of an existing service is rehearsed, its mode is known before, and what the server has
stored is read back after.
"""

from collections.abc import Mapping
from typing import Any

from ratchet.adapters.kserve_modes import KNATIVE, MODE, knows_new_modes, mode_of, mode_problem_of
from ratchet.adapters.kserve_objects import (
    DELETED_S_MAX,
    GROUP_VERSION,
    PLURAL,
    Object,
    conditions_of,
    delete_and_wait,
    find,
    is_ending,
    is_observed,
    mapping_at,
    mappings_in,
    message_of,
    render_model,
    storage_uri_of,
    wait_gone,
    wait_until,
)
from ratchet.adapters.kubernetes_api import MERGE_PATCH, KubernetesApi
from ratchet.core.errors import Conflict, NotFound, SettingsError, Unavailable
from ratchet.core.ports import ServiceState
from ratchet.settings import Settings

MIRROR = "ratchet/mirror-percent"
"""Annotation: the wish in an InferenceService's metadata, what is in force in its status."""
MODE_TOLD_S_MAX = 10.0
"""How long KServe may take to write a new service's mode: a second or so."""
_CANARY = "canaryTrafficPercent"
_IMPLEMENTATIONS = (
    *("containers", "model", "sklearn", "xgboost", "tensorflow", "pytorch", "triton", "onnx", "huggingface"),
    *("pmml", "lightgbm", "paddle"),
)
"""The fields of a predictor that each say what serves."""


class KServeInferenceServices:
    """Implements ports.InferenceServices in one namespace. The predictor is `model: {modelFormat: ratchet}`."""

    def __init__(
        self, api: KubernetesApi, *, deleted_s_max: float = DELETED_S_MAX, mode_told_s_max: float = MODE_TOLD_S_MAX
    ) -> None:
        self._api = api
        self._collection = api.collection(GROUP_VERSION, PLURAL)
        self._deleted_s_max = deleted_s_max
        self._mode_told_s_max = mode_told_s_max

    @classmethod
    def of(cls, settings: Settings) -> "KServeInferenceServices":
        return cls(KubernetesApi.of(settings))

    def fetch(self, name: str) -> ServiceState | None:
        """None when there is no such service, or it is being deleted."""
        service = self._find(name)
        return state_of(service) if service else None

    def deploy(self, name: str, storage_uri: str, *, canary_traffic_pct: int | None) -> None:
        """Create the service or change its predictor. DataRejected when the server refuses it; SettingsError when it
        would serve in another mode. One that is being deleted is waited for."""
        predictor = {_CANARY: canary_traffic_pct, "model": render_model(storage_uri)}
        service = self._await_end(name)
        if service is None:
            self._create(name, predictor)
        else:
            self._change(service, predictor)

    def set_traffic(self, name: str, canary_traffic_pct: int | None) -> None:
        """NotFound when there is no such service."""
        service = self._expect(name)
        if problem := _mode_problem_of(service):
            raise SettingsError(f"{problem}.")
        is_known = mapping_at(service, "spec.predictor").get(_CANARY) is not None
        self._patch(name, {_CANARY: canary_traffic_pct}, is_rehearsed=not is_known)

    def set_mirror(self, name: str, mirror_pct: int) -> None:
        """Nothing happens on a server whose status does not speak of mirroring, such as KServe on Knative: there an
        annotation is part of the revision's template, so that writing one would make a new revision."""
        if MIRROR in mapping_at(self._expect(name), "status.annotations"):
            body = {"metadata": {"annotations": {MIRROR: str(mirror_pct) if mirror_pct else None}}}
            self._api.request("PATCH", self._path(name), body=body, content_type=MERGE_PATCH)

    def delete(self, name: str) -> None:
        """Nothing happens when it is gone already. It is gone when this returns."""
        delete_and_wait(self._api, [self._path(name)], within_s=self._deleted_s_max)

    def _path(self, name: str) -> str:
        return f"{self._collection}/{name}"

    def _find(self, name: str) -> Object | None:
        service = find(self._api, self._path(name))
        return None if service is None or is_ending(service) else service

    def _expect(self, name: str) -> Object:
        service = self._find(name)
        if service is None:
            raise NotFound(f"There is no InferenceService {name} in namespace {self._api.namespace}.")
        return service

    def _await_end(self, name: str) -> Object | None:
        """The service; None once one that is being deleted is gone."""
        service = find(self._api, self._path(name))
        if service is not None and is_ending(service):
            uid = str(mapping_at(service, "metadata").get("uid") or "")
            wait_gone(self._api, self._path(name), uid=uid, within_s=self._deleted_s_max)
            service = self._find(name)
        return service

    def _create(self, name: str, predictor: Mapping[str, Any]) -> None:
        body = {
            "apiVersion": GROUP_VERSION,
            "kind": "InferenceService",
            "metadata": {"name": name, "namespace": self._api.namespace},
            "spec": {"predictor": {key: value for key, value in predictor.items() if value is not None}},
        }
        mode = "Knative" if knows_new_modes(self._api, body) else "Serverless"
        metadata = {"name": name, "namespace": self._api.namespace, "annotations": {MODE: mode}}
        try:
            created = self._api.request("POST", self._collection, body={**body, "metadata": metadata})
        except Conflict:  # somebody else made it, or our own first try, whose answer was lost
            self._change(self._expect(name), predictor)
            return
        try:
            _check_stored(created, predictor)
            self._told_mode(created)
        except SettingsError:
            # What the server keeps otherwise must not stay: in another mode it would get all traffic.
            self.delete(name)
            raise

    def _change(self, service: Object, predictor: Mapping[str, Any]) -> None:
        """Known to be in Knative mode before anything is written: elsewhere the model would get all traffic."""
        if not mode_of(service) and not self._told_mode(service):
            raise Unavailable(
                f"InferenceService {_name_of(service)}: KServe has not told its mode (status.deploymentMode) within "
                f"{self._mode_told_s_max:g} s. Check that its controller runs, and is 0.15.1 or newer."
            )
        if problem := _mode_problem_of(service):
            raise SettingsError(f"{problem}.")
        others = [each for each in _IMPLEMENTATIONS if each in mapping_at(service, "spec.predictor")]
        self._patch(_name_of(service), {**dict.fromkeys(others), **predictor}, is_rehearsed=True)

    def _told_mode(self, service: Object) -> bool:
        """Whether KServe says in time that it is the right one. SettingsError when it says another."""
        name, told = _name_of(service), service

        def is_told() -> bool:
            nonlocal told
            told = self._find(name) or {}
            return not told or bool(mode_of(told))

        is_known = wait_until(is_told, within_s=self._mode_told_s_max)
        if problem := _mode_problem_of(told):
            raise SettingsError(f"{problem}.")
        return is_known

    def _patch(self, name: str, predictor: Mapping[str, Any], *, is_rehearsed: bool) -> None:
        """A merge patch: None takes a field away."""
        patch = {"spec": {"predictor": predictor}}
        # Rehearsed first: a server that would drop a field shows it before anything has changed.
        for is_rehearsal in (True, False) if is_rehearsed else (False,):
            stored = self._api.request(
                "PATCH", self._path(name), body=patch, content_type=MERGE_PATCH, is_rehearsal=is_rehearsal
            )
            _check_stored(stored, predictor)
            if is_ending(stored):
                raise Conflict(
                    f"InferenceService {name} is being deleted: what is written to it goes with it. Try again."
                )


def _check_stored(stored: Mapping[str, Any], predictor: Mapping[str, Any]) -> None:
    """SettingsError unless the server keeps what was asked for."""
    found = mapping_at(stored, "spec.predictor")
    asked = {key: value for key, value in predictor.items() if key == _CANARY}
    if "model" in predictor:
        asked["model.storageUri"] = predictor["model"]["storageUri"]
    kept = {_CANARY: found.get(_CANARY), "model.storageUri": mapping_at(found, "model").get("storageUri")}
    for field, value in asked.items():
        if kept[field] != value:
            raise SettingsError(
                f"InferenceService {_name_of(stored)}: spec.predictor.{field} was written as {value!r}, and the server "
                f"keeps {kept[field]!r}. Its definition of InferenceServices, or a policy, does not accept it."
            )


def _mode_problem_of(service: Mapping[str, Any]) -> str:
    return mode_problem_of(service, wanted=KNATIVE, setting="knative")


def _name_of(service: Mapping[str, Any]) -> str:
    return str(mapping_at(service, "metadata").get("name") or "")


def state_of(service: Mapping[str, Any]) -> ServiceState:
    """What an InferenceService's object says of itself."""
    predictor, status = mapping_at(service, "spec.predictor"), mapping_at(service, "status")
    component, conditions = mapping_at(status, "components.predictor"), conditions_of(status)
    latest, ready = conditions.get("LatestDeploymentReady"), conditions.get("Ready", {}).get("status")
    problem = _mode_problem_of(service)
    return ServiceState(
        name=_name_of(service),
        is_ready=ready == "True" and not problem,
        storage_uri=storage_uri_of(predictor),
        canary_traffic_pct=canary_pct if isinstance(canary_pct := predictor.get(_CANARY), int) else None,
        stable_revision=component.get("latestRolledoutRevision") or "",
        latest_ready_revision=component.get("latestReadyRevision") or "",
        latest_created_revision=component.get("latestCreatedRevision") or "",
        traffic_pct=_traffic_of(component),
        message=problem or message_of(conditions) or _silence_of(status),
        is_latest_ready=None if latest is None else latest.get("status") == "True",
        is_observed=is_observed(mapping_at(service, "metadata"), status),
        stable_message=_stable_message_of(conditions, component),
        is_failed=ready == "False" or bool(problem),
        mirror_pct=_mirror_pct_of(status),
    )


def _traffic_of(component: Mapping[str, Any]) -> dict[str, int]:
    """A target without a revision, as Knative has it before the first is ready, is nobody's share."""
    traffic_pct: dict[str, int] = {}
    for target in mappings_in(component.get("traffic")):
        revision, percent = target.get("revisionName"), target.get("percent")
        if revision and isinstance(percent, int):
            traffic_pct[revision] = traffic_pct.get(revision, 0) + percent
    return traffic_pct


def _mirror_pct_of(status: Mapping[str, Any]) -> int:
    text = str(mapping_at(status, "annotations").get(MIRROR, "0"))
    return int(text) if text.isdecimal() else 0


def _silence_of(status: Mapping[str, Any]) -> str:
    """A controller that is not there says nothing."""
    if conditions_of(status):
        return ""
    return "KServe has not written its status: check its controller, and in Knative mode that Knative is installed"


def _stable_message_of(conditions: Mapping[str, Mapping[str, Any]], component: Mapping[str, Any]) -> str:
    """Without a canary everything that is not ready is about the stable revision; with one, what names it is."""
    ready, stable = conditions.get("Ready", {}), component.get("latestRolledoutRevision") or ""
    if ready.get("status") == "True" or ready.get("reason") == "Routing":  # traffic moves, between those that answer
        return ""
    if stable in {"", component.get("latestCreatedRevision", "")}:
        return message_of(conditions) or ("it is not ready" if conditions else "its status is still empty")
    routed = conditions.get("IngressReady", {})
    message = str(routed.get("message") or "")
    is_about_stable = message.startswith((f"{stable}:", f"{stable} "))
    return message if routed.get("status") != "True" and is_about_stable else ""
