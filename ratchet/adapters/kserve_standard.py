"""InferenceServices in KServe's Standard mode, which has no revisions and no traffic split: one service a model, and a
Gateway API HTTPRoute that weighs two of them.

* A revision is an InferenceService of its own (kserve_revisions.py), which never changes.
* The HTTPRoute `<task>` says who has the traffic (kserve_routes.py).
* Nobody reconciles the two on a cluster, so whoever looks (`fetch`) does: a newest revision that has become ready gets
  the share that was wished for it. Each call does one thing after another in an order in which any may be the last.

A revision that was replaced runs on until the next `deploy`: a gateway may take a moment to turn away from it.
"""

import logging
from collections.abc import Mapping
from typing import Any

from ratchet.adapters.gateway_api import look_at_gateway_api
from ratchet.adapters.kserve import MIRROR
from ratchet.adapters.kserve_modes import knows_new_modes
from ratchet.adapters.kserve_objects import (
    DELETED_S_MAX,
    GROUP_VERSION,
    PLURAL,
    delete_and_wait,
    find,
    is_ending,
    mapping_at,
    mappings_in,
    wait_gone,
)
from ratchet.adapters.kserve_revisions import (
    Found,
    is_newest,
    mode_problem_in,
    name_of,
    number_of,
    plan_split,
    render_service,
    revision_of,
    state_of,
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
    says,
    split_of,
)
from ratchet.adapters.kubernetes_api import MERGE_PATCH, KubernetesApi
from ratchet.adapters.kubernetes_errors import UnknownField
from ratchet.core.errors import Conflict, NotFound, SettingsError, Unavailable
from ratchet.core.ports import ServiceState
from ratchet.settings import Settings

log = logging.getLogger(__name__)
_NUM_TRIES = 5
"""Looks at a route that others change at the same time: two callers of `fetch` need two, so five mean a controller."""


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
        if found.services and (problem := mode_problem_in(found.newest)):
            raise SettingsError(f"{problem}.")
        if found.route is not None:
            self._wish(name, found.route, wish)
        if not is_newest(found, storage_uri):
            self._create(name, found, storage_uri)
        if found.route is None:
            self._wish(name, None, wish)
        found = self._follow_up(name)
        used = {*split_of(found.route)[:2], before.stable, before.canary if before.canary_pct else ""}
        for service in found.services[:-1]:
            if revision_of(service) not in used:
                self._delete(f"{self._services}/{name_of(service)}")

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
        services = [f"{self._services}/{name_of(each)}" for _, each in sorted(self._list(name).items())]
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
            if not is_newest(self._look(name), storage_uri):
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
        return {number: each for each in mappings_in(listed.get("items")) if (number := number_of(name, each))}

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


def _generation_of(route: Mapping[str, Any]) -> Any:
    return mapping_at(route, "metadata").get("generation")


def _text_of(value: int | None) -> str | None:
    return None if value is None else str(value)
