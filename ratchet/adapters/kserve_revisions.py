"""The revisions of a task in Standard mode, each an InferenceService: what they are called, how one is written, who of
them should have the traffic, and what they say together. Pure.

A revision is an InferenceService of its own, `<task>-00001`, `<task>-00002` …, with the label `ratchet/task: <task>`;
it never changes. Its name among revisions is that of its Service and Deployment, `<task>-00001-predictor`. Each serves
its model under the task's name, so users ask `/v1/models/<task>:predict` whichever answers.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from ratchet.adapters.kserve_modes import MODE, STANDARD, mode_problem_of
from ratchet.adapters.kserve_objects import (
    GROUP_VERSION,
    conditions_of,
    is_observed,
    mapping_at,
    message_of,
    render_model,
    storage_uri_of,
)
from ratchet.adapters.kserve_routes import TASK_LABEL, Split, route_problem_of, split_of, wish_of
from ratchet.core.ports import ServiceState

_PREDICTOR = "-predictor"


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
    return name_of(service) + _PREDICTOR


def is_newest(found: Found, storage_uri: str) -> bool:
    return bool(found.services) and storage_uri_of(mapping_at(found.newest, "spec.predictor")) == storage_uri


def _is_ready(service: Mapping[str, Any]) -> bool:
    """In the right mode, too: the Service of another has other ports and other pods."""
    status = mapping_at(service, "status")
    is_so = conditions_of(status).get("Ready", {}).get("status") == "True"
    return is_so and is_observed(mapping_at(service, "metadata"), status) and not mode_problem_in(service)


def _message_of(*services: Mapping[str, Any]) -> str:
    """Of the first that is not ready. A server that does not know the mode must be told from one that is slow."""
    for service in services:
        if problem := mode_problem_in(service):
            return f"{problem}; Standard is known from KServe 0.16 on"
        if not _is_ready(service) and (message := message_of(conditions_of(mapping_at(service, "status")))):
            return message
    return ""


def mode_problem_in(service: Mapping[str, Any]) -> str:
    return mode_problem_of(service, wanted=STANDARD, setting="standard")


def name_of(service: Mapping[str, Any]) -> str:
    return str(mapping_at(service, "metadata").get("name") or "")


def number_of(name: str, service: Mapping[str, Any]) -> int:
    """Of a revision of ours; 0 for another object that has the label."""
    found = re.fullmatch(rf"{re.escape(name)}-(\d{{5,}})", name_of(service), re.ASCII)
    return int(found[1]) if found else 0
