"""InferenceServices in KServe's Standard mode, which has no revisions and no traffic split: one service a model, and a
Gateway API HTTPRoute that weighs two of them.

* A revision is an InferenceService of its own, `<task>-00001`, `<task>-00002` …, with the label `ratchet/task: <task>`;
  it never changes. Its name among revisions is that of its Service and Deployment, `<task>-00001-predictor`. Each
  serves its model under the task's name, so users ask `/v1/models/<task>:predict` whoever answers.
* The HTTPRoute `<task>` says who has the traffic (kserve_routes.py).
* Nobody reconciles the two on a cluster, so whoever looks (`fetch`) does: a newest revision that has become ready gets
  the share that was wished for it. Each call does one thing after another in an order in which any may be the last.

A revision that was replaced runs on until the next `deploy`: a gateway may take a moment to turn away from it.
"""

import logging
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from ratchet.adapters.gateway_api import look_at_gateway_api
from ratchet.adapters.kserve import MIRROR
from ratchet.adapters.kserve_modes import MODE, STANDARD, knows_new_modes, mode_problem_of
from ratchet.adapters.kserve_objects import (
    DELETED_S_MAX,
    GROUP_VERSION,
    PLURAL,
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
)
from ratchet.adapters.kserve_routes import (
    CANARY,
    ROUTE_VERSION,
    ROUTES,
    TASK_LABEL,
    Split,
    check_ours,
    render_route,
    render_rule,
    route_problem_of,
    says,
    split_of,
    wish_of,
)
from ratchet.adapters.kubernetes_api import MERGE_PATCH, KubernetesApi
from ratchet.adapters.kubernetes_errors import UnknownField
from ratchet.core.errors import Conflict, NotFound, SettingsError, Unavailable
from ratchet.core.ports import ServiceState
from ratchet.settings import Settings

log = logging.getLogger(__name__)
_PREDICTOR = "-predictor"
_NUM_TRIES = 5


class Found(NamedTuple):
    """What the cluster has of a task."""

    route: Mapping[str, Any] | None
    services: Sequence[Mapping[str, Any]]
    """Oldest first, without those that are being deleted."""
    num_made: int = 0
    """The highest number of any revision, also of one that is being deleted: its name is still taken."""

    @property
    def newest(self) -> Mapping[str, Any]:
        return self.services[-1]


class KServeStandardServices:
    """Implements ports.InferenceServices in one namespace."""

    def __init__(self, api: KubernetesApi, *, deleted_s_max: float = DELETED_S_MAX) -> None:
        self._api = api
        self._services = api.collection(GROUP_VERSION, PLURAL)
        self._routes = api.collection(ROUTE_VERSION, ROUTES)
        self._deleted_s_max = deleted_s_max
        self._is_gateway_checked = False
        self._written: dict[str, tuple[Any, Split]] = {}
        """By task: the generation that our last write made, and what it should say. Where the server keeps something
        else, writing it again at every look would change nothing."""

    @classmethod
    def of(cls, settings: Settings) -> "KServeStandardServices":
        return cls(KubernetesApi.of(settings))

    def fetch(self, name: str) -> ServiceState | None:
        """None when there is no revision. Moves traffic that was wished and can be moved now."""
        found = self._follow_up(name)
        return state_of(name, found) if found.services else None

    def deploy(self, name: str, storage_uri: str, *, canary_traffic_pct: int | None) -> None:
        """The wish first: a new revision must never find the wish that was meant for the one before it. But the very
        first revision comes before its route, so that one that is refused leaves no route behind."""
        self._check_gateway()
        self._await_end_of_route(name)
        found = self._look(name)
        before, wish = split_of(found.route), {CANARY: _text_of(canary_traffic_pct)}
        if found.services and (problem := _mode_problem_of(found.newest)):
            raise SettingsError(f"{problem}.")
        if found.route is not None:
            self._wish(name, found.route, wish)
        if not _is_newest(found, storage_uri):
            self._create(name, found, storage_uri)
        if found.route is None:
            self._wish(name, None, wish)
        found = self._follow_up(name)
        used = {*split_of(found.route)[:2], before.stable, before.canary if before.canary_pct else ""}
        for service in found.services[:-1]:
            if revision_of(service) not in used:
                self._delete(f"{self._services}/{_name_of(service)}")

    def set_traffic(self, name: str, canary_traffic_pct: int | None) -> None:
        self._change(name, {CANARY: _text_of(canary_traffic_pct)})

    def set_mirror(self, name: str, mirror_pct: int) -> None:
        if mirror_pct:
            self._check_gateway()
        self._change(name, {MIRROR: _text_of(mirror_pct or None)})

    def delete(self, name: str) -> None:
        """The route first, and the newest revision last: what is left after a crash is still found. All are gone when
        this returns."""
        self._look(name)
        services = [f"{self._services}/{_name_of(each)}" for _, each in sorted(self._list(name).items())]
        delete_and_wait(self._api, [f"{self._routes}/{name}", *services], within_s=self._deleted_s_max)
        self._written.pop(name, None)

    def _check_gateway(self) -> None:
        """SettingsError unless the cluster's HTTPRoutes can do what is needed. Asked once."""
        if self._is_gateway_checked:
            return
        if problem := look_at_gateway_api(self._api).problem:
            raise SettingsError(f"{problem}. `ratchet doctor` checks it.")
        self._is_gateway_checked = True

    def _create(self, name: str, found: Found, storage_uri: str) -> None:
        body = render_service(name, found.num_made + 1, storage_uri)
        if not found.services and not knows_new_modes(self._api, body):
            raise SettingsError(
                "Standard mode needs KServe 0.16 or newer: the cluster's does not know the mode's name. Install KServe "
                "0.16, or set RATCHET_SERVING_MODE=knative."
            )
        try:
            self._api.request("POST", self._services, body=body)
        except Conflict:  # our own first try, whose answer was lost, or somebody else with another model
            if not _is_newest(self._look(name), storage_uri):
                raise

    def _change(self, name: str, wish: Mapping[str, str | None]) -> None:
        found = self._look(name)
        if not found.services:
            raise NotFound(f"There is no InferenceService of {name}: none has the label {TASK_LABEL}={name}.")
        self._wish(name, found.route, wish)
        self._follow_up(name)

    def _look(self, name: str) -> Found:
        """DataRejected when the route of that name is another program's."""
        numbered = self._list(name)
        services = [each for _, each in sorted(numbered.items()) if not is_ending(each)]
        route = find(self._api, f"{self._routes}/{name}")
        if route is not None:
            check_ours(route, name)
        return Found(route, services, max(numbered, default=0))

    def _list(self, name: str) -> dict[int, Mapping[str, Any]]:
        """Revisions by number, with those that are being deleted. Other objects with the label are left out."""
        listed = self._api.request("GET", self._services, query={"labelSelector": f"{TASK_LABEL}={name}"})
        return {number: each for each in mappings_in(listed.get("items")) if (number := _number_of(name, each))}

    def _await_end_of_route(self, name: str) -> None:
        """A route that is being deleted would take with it what is written to it."""
        route = find(self._api, f"{self._routes}/{name}")
        if route is not None and is_ending(route):
            uid = str(mapping_at(route, "metadata").get("uid") or "")
            wait_gone(self._api, f"{self._routes}/{name}", uid=uid, within_s=self._deleted_s_max)

    def _wish(self, name: str, route: Mapping[str, Any] | None, wish: Mapping[str, str | None]) -> None:
        if route is None:
            try:
                annotations = {key: value for key, value in wish.items() if value is not None}
                self._api.request("POST", self._routes, body=render_route(name, annotations))
                return
            except Conflict:  # somebody else made it, or our own first try, whose answer was lost
                pass
        self._patch_route(name, {"metadata": {"annotations": dict(wish)}})

    def _follow_up(self, name: str) -> Found:
        """Bring the route's rule to what is wished, as far as the newest revision can take it."""
        for _ in range(_NUM_TRIES):
            found = self._look(name)
            if found.route is None or not found.services:
                return found
            wanted = plan_split(found)
            is_written = self._written.get(name) == (_generation_of(found.route), wanted)
            if is_written or says(found.route, render_rule(name, wanted)):
                return found
            try:
                return found._replace(route=self._write(name, found.route, wanted))
            except Conflict:
                continue
        raise Unavailable(
            f"HTTPRoute {name} was changed by another process {_NUM_TRIES} times while its weights were being set. "
            f"Look at its managedFields: another controller may own it."
        )

    def _write(self, name: str, route: Mapping[str, Any], wanted: Split) -> Mapping[str, Any]:
        """The route as the server keeps it. Where copies cannot be limited, there are none: the traffic moves all the
        same, because it may be moving away from a bad model."""
        stored = self._write_rule(name, route, wanted)
        if stored is None or split_of(stored).mirror_pct > wanted.mirror_pct:
            log.warning("%s: requests are not copied: HTTPRoutes here do not know requestMirror.percent", name)
            stored = self._write_rule(name, stored or route, wanted._replace(mirror_pct=0)) or route
        self._written[name] = (_generation_of(stored), wanted)
        if split_of(stored)[:3] != wanted[:3]:
            raise Unavailable(
                f"HTTPRoute {name}: the server keeps other weights than were written: {split_of(stored)[:3]}, not "
                f"{wanted[:3]}. Look at its managedFields: another controller or a policy may change it."
            )
        return stored

    def _write_rule(self, name: str, route: Mapping[str, Any], wanted: Split) -> Mapping[str, Any] | None:
        """None when the server does not know a part of the mirror."""
        version = {"resourceVersion": mapping_at(route, "metadata").get("resourceVersion")}
        change = {"metadata": version, "spec": {"rules": [render_rule(name, wanted)]}}
        try:
            return self._patch_route(name, change, retries_conflict=False)
        except UnknownField:
            if not wanted.mirror_pct:
                raise
            return None

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
    stable = now.stable or _ready_before(found)
    wish = wish_of(found.route)
    is_ready = _is_ready(found.newest)
    if newest == stable or (newest != now.canary and not is_ready):
        return Split(stable)
    if not stable:
        return Split(newest)
    share_pct = 100 if wish.canary_pct is None else wish.canary_pct
    if not is_ready:
        share_pct = min(share_pct, now.canary_pct)
    if share_pct == 100:
        return Split(newest)
    return Split(stable, newest, share_pct, wish.mirror_pct if share_pct == 0 else 0)


def _ready_before(found: Found) -> str:
    """Who was stable, where the route does not say it any more: without an answer the newest would get everything."""
    ready = [revision_of(service) for service in found.services[:-1] if _is_ready(service)]
    return ready[-1] if ready else ""


def render_service(name: str, number: int, storage_uri: str) -> dict[str, Any]:
    """One revision. It is for the gateway alone: KServe makes no route of its own for a cluster-local service."""
    model = {**render_model(storage_uri), "args": [f"--model_name={name}"]}
    return {
        "apiVersion": GROUP_VERSION,
        "kind": "InferenceService",
        "metadata": {
            "name": f"{name}-{number:05d}",
            "labels": {TASK_LABEL: name, "networking.kserve.io/visibility": "cluster-local"},
            "annotations": {MODE: "Standard"},
        },
        "spec": {"predictor": {"model": model}},
    }


def state_of(name: str, found: Found) -> ServiceState:
    """What the route and the newest revisions say together. Pure."""
    split, newest = split_of(found.route), found.newest
    serving = [each for each in found.services if revision_of(each) == split.stable]
    revision, is_newest_ready = revision_of(newest), _is_ready(newest)
    route_problem, wish = route_problem_of(found.route), wish_of(found.route)
    shares = {split.stable: 100 - split.canary_pct, split.canary: split.canary_pct}
    return ServiceState(
        name=name,
        is_ready=bool(serving) and is_newest_ready and all(map(_is_ready, serving)) and not route_problem,
        storage_uri=storage_uri_of(mapping_at(newest, "spec.predictor")),
        canary_traffic_pct=wish.canary_pct,
        stable_revision=split.stable,
        latest_ready_revision=revision if is_newest_ready or revision in split[:2] else split.stable,
        latest_created_revision=revision,
        traffic_pct={each: share for each, share in shares.items() if each},
        message=_message_of(newest, *serving) or route_problem or wish.problem,
        is_latest_ready=is_newest_ready,
        is_observed=is_observed(mapping_at(newest, "metadata"), mapping_at(newest, "status")) and not route_problem,
        stable_message=_stable_message_of(split.stable, serving),
        is_failed=any(map(_has_failed, serving)) or not serving,
        mirror_pct=0 if route_problem else split.mirror_pct,
    )


def _stable_message_of(stable: str, serving: Sequence[Mapping[str, Any]]) -> str:
    if stable and not serving:
        return f"no InferenceService serves {stable}"
    return "" if all(map(_is_ready, serving)) else _message_of(*serving) or f"{stable} is not ready"


def _has_failed(service: Mapping[str, Any]) -> bool:
    return conditions_of(mapping_at(service, "status")).get("Ready", {}).get("status") == "False"


def revision_of(service: Mapping[str, Any]) -> str:
    """The name of a revision: that of its Service and Deployment, by which gateways and metrics know it."""
    return _name_of(service) + _PREDICTOR


def _is_newest(found: Found, storage_uri: str) -> bool:
    return bool(found.services) and storage_uri_of(mapping_at(found.newest, "spec.predictor")) == storage_uri


def _is_ready(service: Mapping[str, Any]) -> bool:
    """In the right mode, too: the Service of another has other ports and other pods."""
    status = mapping_at(service, "status")
    is_so = conditions_of(status).get("Ready", {}).get("status") == "True"
    return is_so and is_observed(mapping_at(service, "metadata"), status) and not _mode_problem_of(service)


def _message_of(*services: Mapping[str, Any]) -> str:
    """Of the first that is not ready. A server that does not know the mode must be told from one that is slow."""
    for service in services:
        if problem := _mode_problem_of(service):
            return f"{problem}; Standard is known from KServe 0.16 on"
        if not _is_ready(service) and (message := message_of(conditions_of(mapping_at(service, "status")))):
            return message
    return ""


def _mode_problem_of(service: Mapping[str, Any]) -> str:
    return mode_problem_of(service, wanted=STANDARD, setting="standard")


def _generation_of(route: Mapping[str, Any]) -> Any:
    return mapping_at(route, "metadata").get("generation")


def _name_of(service: Mapping[str, Any]) -> str:
    return str(mapping_at(service, "metadata").get("name") or "")


def _number_of(name: str, service: Mapping[str, Any]) -> int:
    """Of a revision of ours; 0 for another object that has the label."""
    found = re.fullmatch(rf"{re.escape(name)}-(\d{{5,}})", _name_of(service), re.ASCII)
    return int(found[1]) if found else 0


def _text_of(value: int | None) -> str | None:
    return None if value is None else str(value)
