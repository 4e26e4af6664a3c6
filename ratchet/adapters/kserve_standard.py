"""InferenceServices in KServe's Standard mode, which has no revisions and no traffic split: one service a model, and a
Gateway API HTTPRoute that weighs two of them.

* A revision is an InferenceService of its own, `<task>-00001`, `<task>-00002` …, with the label `ratchet/task: <task>`;
  it never changes. Its name among revisions is that of its Service and Deployment, `<task>-00001-predictor`. Each
  serves its model under the task's name, so users ask `/v1/models/<task>:predict` whoever answers.
* The HTTPRoute `<task>` says who has the traffic: its first backend is the stable revision, its second the canary; a
  RequestMirror copies to the canary. Its annotations hold what was wished.
* Nobody reconciles the two on a cluster, so whoever looks (`fetch`) does: a newest revision that has become ready gets
  the share that was wished for it. Each call does one thing after another in an order in which any may be the last.

A revision that was replaced runs on until the next `deploy`: a gateway may take a moment to turn away from it.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from ratchet.adapters.kserve import (
    GROUP_VERSION,
    MIRROR,
    PLURAL,
    is_settled,
    message_of,
    render_model,
    storage_uri_of,
)
from ratchet.adapters.kubernetes_api import MERGE_PATCH, KubernetesApi
from ratchet.core.errors import Conflict, NotFound, Unavailable
from ratchet.core.ports import ServiceState
from ratchet.settings import Settings

GATEWAY, GATEWAY_NAMESPACE = "kserve-ingress-gateway", "kserve"
"""The Gateway that KServe's installation makes (`ingress.kserveIngressGateway` of its configuration)."""
TASK_LABEL = "ratchet/task"
CANARY = "ratchet/canary-traffic-percent"
"""Annotation of the HTTPRoute: the wish; absent = everything to the newest revision."""
_ROUTE_VERSION, _ROUTES = "gateway.networking.k8s.io/v1", "httproutes"
_PREDICTOR = "-predictor"
_PORT = 80
_NUM_TRIES = 5


class Split(NamedTuple):
    """Who has the traffic, as revisions; "" = nobody."""

    stable: str = ""
    canary: str = ""
    canary_pct: int = 0
    mirror_pct: int = 0


class Found(NamedTuple):
    """What the cluster has of a task."""

    route: Mapping[str, Any] | None
    services: Sequence[Mapping[str, Any]]
    """Oldest first."""

    @property
    def newest(self) -> Mapping[str, Any]:
        return self.services[-1]


class KServeStandardServices:
    """Implements ports.InferenceServices in one namespace."""

    def __init__(self, api: KubernetesApi) -> None:
        self._api = api
        self._services = api.collection(GROUP_VERSION, PLURAL)
        self._routes = api.collection(_ROUTE_VERSION, _ROUTES)

    @classmethod
    def of(cls, settings: Settings) -> "KServeStandardServices":
        return cls(KubernetesApi.of(settings))

    def fetch(self, name: str) -> ServiceState | None:
        """None when there is no revision. Moves traffic that was wished and can be moved now."""
        found = self._settle(name)
        return state_of(name, found) if found.services else None

    def deploy(self, name: str, storage_uri: str, *, canary_traffic_pct: int | None) -> None:
        """The wish first: a new revision must never find the wish that was meant for the one before it."""
        found = self._look(name)
        before = split_of(found.route)
        self._wish(name, found.route, {CANARY: _text_of(canary_traffic_pct)})
        if not _is_newest(found, storage_uri):
            self._create(name, found, storage_uri)
        found = self._settle(name)
        used = {*split_of(found.route)[:2], before.stable, before.canary if before.canary_pct else ""}
        for service in found.services[:-1]:
            if revision_of(service) not in used:
                self._delete(f"{self._services}/{_name_of(service)}")

    def set_traffic(self, name: str, canary_traffic_pct: int | None) -> None:
        self._change(name, {CANARY: _text_of(canary_traffic_pct)})

    def set_mirror(self, name: str, mirror_pct: int) -> None:
        self._change(name, {MIRROR: _text_of(mirror_pct or None)})

    def delete(self, name: str) -> None:
        """The route first, and the newest revision last: what is left after a crash is still found."""
        found = self._look(name)
        self._delete(f"{self._routes}/{name}")
        for service in found.services:
            self._delete(f"{self._services}/{_name_of(service)}")

    def _create(self, name: str, found: Found, storage_uri: str) -> None:
        number = _number_of(_name_of(found.newest)) + 1 if found.services else 1
        try:
            self._api.request("POST", self._services, body=render_service(name, number, storage_uri))
        except Conflict:  # our own first try, whose answer was lost, or somebody else with another model
            if not _is_newest(self._look(name), storage_uri):
                raise

    def _change(self, name: str, wish: Mapping[str, str | None]) -> None:
        found = self._look(name)
        if not found.services:
            raise NotFound(f"There is no InferenceService of {name}: none has the label {TASK_LABEL}={name}.")
        self._wish(name, found.route, wish)
        self._settle(name)

    def _look(self, name: str) -> Found:
        listed = self._api.request("GET", self._services, query={"labelSelector": f"{TASK_LABEL}={name}"})
        services = [each for each in listed["items"] if "deletionTimestamp" not in each["metadata"]]
        try:
            route = self._api.request("GET", f"{self._routes}/{name}")
        except NotFound:
            route = None
        return Found(route, sorted(services, key=lambda each: _number_of(_name_of(each))))

    def _wish(self, name: str, route: Mapping[str, Any] | None, wish: Mapping[str, str | None]) -> None:
        if route is None:
            try:
                annotations = {key: value for key, value in wish.items() if value is not None}
                self._api.request("POST", self._routes, body=render_route(name, annotations))
                return
            except Conflict:  # somebody else made it, or our own first try, whose answer was lost
                pass
        self._patch_route(name, {"metadata": {"annotations": dict(wish)}})

    def _settle(self, name: str) -> Found:
        """Bring the route's backends to what is wished, as far as the newest revision can take it."""
        for _ in range(_NUM_TRIES):
            found = self._look(name)
            if found.route is None or not found.services:
                return found
            split, wanted = split_of(found.route), plan_split(found)
            if split == wanted:
                return found
            version = {"resourceVersion": found.route["metadata"]["resourceVersion"]}
            try:
                change = {"metadata": version, "spec": {"rules": [render_rule(name, wanted)]}}
                return found._replace(route=self._patch_route(name, change, retries_conflict=False))
            except Conflict:
                continue
        raise Unavailable(
            f"HTTPRoute {name} was changed by another process {_NUM_TRIES} times while its weights were being set. "
            f"Look at its managedFields: another controller may own it."
        )

    def _patch_route(self, name: str, change: Any, *, retries_conflict: bool = True) -> dict[str, Any]:
        return self._api.request(
            "PATCH",
            f"{self._routes}/{name}",
            body=change,
            content_type=MERGE_PATCH,
            retries_conflict=retries_conflict,
        )

    def _delete(self, path: str) -> None:
        try:
            self._api.request("DELETE", path)
        except NotFound:
            return


def plan_split(found: Found) -> Split:
    """Who should have the traffic, by KServe's canary rule: a revision gets its first share once it is ready, and more
    only while it is; less it gets at any time. Pure."""
    assert found.route is not None
    now, newest = split_of(found.route), revision_of(found.newest)
    wished_pct, mirror_pct = _wishes_of(found.route)
    is_ready = _is_ready(found.newest)
    if newest == now.stable or (newest != now.canary and not is_ready):
        return Split(now.stable)
    if not now.stable:
        return Split(newest)
    share_pct = 100 if wished_pct is None else wished_pct
    if not is_ready:
        share_pct = min(share_pct, now.canary_pct)
    if share_pct == 100:
        return Split(newest)
    return Split(now.stable, newest, share_pct, mirror_pct if share_pct == 0 else 0)


def split_of(route: Mapping[str, Any] | None) -> Split:
    """What an HTTPRoute of ours says."""
    rule = route["spec"]["rules"][0] if route else {}
    backends = rule.get("backendRefs") or []
    if len(backends) < 2:
        return Split(backends[0]["name"] if backends else "")
    mirror: Mapping[str, Any] = next(
        (each["requestMirror"] for each in rule.get("filters") or () if each["type"] == "RequestMirror"), {}
    )
    return Split(backends[0]["name"], backends[1]["name"], backends[1]["weight"], mirror.get("percent", 0))


def render_rule(name: str, split: Split) -> dict[str, Any]:
    """The paths of the inference protocols, exactly: no regular expression, which gateways need not know."""
    shares = [(split.stable, 100 - split.canary_pct), (split.canary, split.canary_pct)]
    rule: dict[str, Any] = {
        "matches": [
            {"path": {"type": "Exact", "value": f"/v1/models/{name}:predict"}},
            {"path": {"type": "Exact", "value": f"/v1/models/{name}"}},
            {"path": {"type": "PathPrefix", "value": f"/v2/models/{name}"}},
        ],
        "backendRefs": [{**_backend(revision), "weight": share} for revision, share in shares if revision],
    }
    if split.mirror_pct:
        mirror = {"backendRef": _backend(split.canary), "percent": split.mirror_pct}
        rule["filters"] = [{"type": "RequestMirror", "requestMirror": mirror}]
    return rule


def render_route(name: str, annotations: Mapping[str, str]) -> dict[str, Any]:
    """Without backends: nobody is ready yet."""
    parent = {"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": GATEWAY, "namespace": GATEWAY_NAMESPACE}
    return {
        "apiVersion": _ROUTE_VERSION,
        "kind": "HTTPRoute",
        "metadata": {"name": name, "labels": {TASK_LABEL: name}, "annotations": dict(annotations)},
        "spec": {"parentRefs": [parent], "rules": [render_rule(name, Split())]},
    }


def render_service(name: str, number: int, storage_uri: str) -> dict[str, Any]:
    """One revision. It is for the gateway alone: KServe makes no route of its own for a cluster-local service."""
    model = {**render_model(storage_uri), "args": [f"--model_name={name}"]}
    return {
        "apiVersion": GROUP_VERSION,
        "kind": "InferenceService",
        "metadata": {
            "name": f"{name}-{number:05d}",
            "labels": {TASK_LABEL: name, "networking.kserve.io/visibility": "cluster-local"},
            "annotations": {"serving.kserve.io/deploymentMode": "Standard"},
        },
        "spec": {"predictor": {"model": model}},
    }


def state_of(name: str, found: Found) -> ServiceState:
    """What the route and the newest revisions say together. Pure."""
    split, newest = split_of(found.route), found.newest
    serving = [each for each in found.services if revision_of(each) == split.stable]
    revision, is_newest_ready = revision_of(newest), _is_ready(newest)
    unsettled = _unsettled_of(found.route)
    shares = {split.stable: 100 - split.canary_pct, split.canary: split.canary_pct}
    return ServiceState(
        name=name,
        is_ready=bool(serving) and is_newest_ready and all(map(_is_ready, serving)) and not unsettled,
        storage_uri=storage_uri_of(newest["spec"]["predictor"]),
        canary_traffic_pct=_wishes_of(found.route)[0],
        stable_revision=split.stable,
        latest_ready_revision=revision if is_newest_ready or revision in split[:2] else split.stable,
        latest_created_revision=revision,
        traffic_pct={each: share for each, share in shares.items() if each},
        message=_message_of(newest, *serving) or unsettled,
        is_latest_ready=is_newest_ready,
        is_settled=is_settled(newest["metadata"], newest.get("status", {})) and not unsettled,
        stable_message=_stable_message_of(split.stable, serving),
        is_failed=any(map(_has_failed, serving)) or not serving,
        mirror_pct=0 if unsettled else split.mirror_pct,
    )


def _stable_message_of(stable: str, serving: Sequence[Mapping[str, Any]]) -> str:
    if stable and not serving:
        return f"no InferenceService serves {stable}"
    return "" if all(map(_is_ready, serving)) else _message_of(*serving) or f"{stable} is not ready"


def _has_failed(service: Mapping[str, Any]) -> bool:
    conditions = service.get("status", {}).get("conditions", ())
    return any(each["type"] == "Ready" and each["status"] == "False" for each in conditions)


def revision_of(service: Mapping[str, Any]) -> str:
    """The name of a revision: that of its Service and Deployment, by which gateways and metrics know it."""
    return _name_of(service) + _PREDICTOR


def _unsettled_of(route: Mapping[str, Any] | None) -> str:
    """Why the gateway does not route as the HTTPRoute says; "" when it does, or has nothing to route."""
    if route is None or not split_of(route).stable:
        return ""
    generation = route["metadata"].get("generation", 0)
    parents = route.get("status", {}).get("parents") or ()
    conditions = {each["type"]: each for parent in parents for each in parent.get("conditions", ())}
    for kind in ("Accepted", "ResolvedRefs"):
        condition = conditions.get(kind, {})
        if condition.get("status") != "True" or condition.get("observedGeneration", generation) < generation:
            return f"HTTPRoute: {kind}: {condition.get('message') or 'the gateway has not confirmed it yet'}"
    return ""


def _wishes_of(route: Mapping[str, Any] | None) -> tuple[int | None, int]:
    """The canary's share, and how much is to be mirrored to it."""
    annotations = (route["metadata"].get("annotations") or {}) if route else {}
    return (int(annotations[CANARY]) if CANARY in annotations else None), int(annotations.get(MIRROR, 0))


def _is_newest(found: Found, storage_uri: str) -> bool:
    return bool(found.services) and storage_uri_of(found.newest["spec"]["predictor"]) == storage_uri


def _is_ready(service: Mapping[str, Any]) -> bool:
    status = service.get("status", {})
    conditions = {each["type"]: each["status"] for each in status.get("conditions", ())}
    return conditions.get("Ready") == "True" and is_settled(service["metadata"], status)


def _message_of(*services: Mapping[str, Any]) -> str:
    """Of the first that is not ready. A server that does not know the mode must be told from one that is slow."""
    for service in services:
        status = service.get("status", {})
        mode = status.get("deploymentMode", "Standard")
        if mode not in {"Standard", "RawDeployment"}:
            return f"{_name_of(service)}: KServe reports mode {mode}; Standard is known from KServe 0.16 on"
        conditions = {each["type"]: each for each in status.get("conditions", ())}
        if not _is_ready(service) and (message := message_of(conditions)):
            return message
    return ""


def _backend(revision: str) -> dict[str, Any]:
    return {"group": "", "kind": "Service", "name": revision, "port": _PORT}


def _name_of(service: Mapping[str, Any]) -> str:
    return service["metadata"]["name"]


def _number_of(name: str) -> int:
    return int(name.rpartition("-")[2])


def _text_of(value: int | None) -> str | None:
    return None if value is None else str(value)
