"""`status` of an InferenceService, with the conditions and names of KServe's Knative mode. Pure.

Each condition is True, False (it failed, the message says why) or Unknown (on its way).
"""

from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict

from embedded.control_plane.kserve.revisions import Rollout, TrafficTarget, percent_by_revision, routed_revisions
from embedded.control_plane.kubernetes.metadata import MIRROR


class RevisionState(BaseModel):
    """How a revision's process is."""

    model_config = ConfigDict(frozen=True)

    is_ready: bool
    is_silent: bool = False
    """It was ready, and does not answer at the moment."""
    is_failed: bool = False
    message: str = ""


class Condition(BaseModel):
    model_config = ConfigDict(frozen=True)

    type: str
    status: str
    reason: str = ""
    message: str = ""


def render_status(
    *,
    generation: int,
    rollout: Rollout,
    wanted: Iterable[TrafficTarget],
    routed: Iterable[TrafficTarget],
    states: Mapping[str, RevisionState],
    url: str,
    previous: Mapping[str, Any],
    now: str,
    mirror_pct: int = 0,
    mode: str = "Knative",
) -> dict[str, Any]:
    """The whole status. `wanted` is what the spec asks for, `routed` and `mirror_pct` what the gateway does; `now` is
    RFC 3339.

    A condition keeps its `lastTransitionTime` of `previous` unless its status changed.
    """
    routed = tuple(routed)
    conditions = _conditions(rollout=rollout, wanted=tuple(wanted), routed=routed, states=states)
    status: dict[str, Any] = {
        "observedGeneration": generation,
        "deploymentMode": mode,
        "conditions": [_render_condition(condition, previous, now) for condition in conditions],
        "components": {"predictor": _render_predictor(rollout, routed, url)},
        "modelStatus": _model_status(rollout, routed, states),
        "annotations": {MIRROR: str(mirror_pct)},
    }
    if routed:
        status |= {"url": url, "address": {"url": url}}
    return status


def _conditions(
    *,
    rollout: Rollout,
    wanted: tuple[TrafficTarget, ...],
    routed: tuple[TrafficTarget, ...],
    states: Mapping[str, RevisionState],
) -> list[Condition]:
    configuration = _configuration(states.get(rollout.latest_created), rollout.latest_created)
    route = _route(wanted=wanted, routed=routed, states=states, configuration=configuration)
    predictor = _both(configuration, route)
    return [
        route.model_copy(update={"type": "IngressReady"}),
        configuration.model_copy(update={"type": "LatestDeploymentReady"}),
        configuration.model_copy(update={"type": "PredictorConfigurationReady"}),
        predictor.model_copy(update={"type": "PredictorReady"}),
        route.model_copy(update={"type": "PredictorRouteReady"}),
        predictor.model_copy(update={"type": "Ready"}),
        route.model_copy(update={"type": "RoutesReady"}),
    ]


def _configuration(latest: RevisionState | None, name: str) -> Condition:
    """Whether the revision of the latest spec runs."""
    if latest is None:
        return _unknown("RevisionMissing", f"{name or 'the first revision'} is not started yet")
    if latest.is_ready:
        return _true()
    return _false("RevisionFailed", latest.message) if latest.is_failed else _unknown("Deploying", latest.message)


def _route(
    *,
    wanted: tuple[TrafficTarget, ...],
    routed: tuple[TrafficTarget, ...],
    states: Mapping[str, RevisionState],
    configuration: Condition,
) -> Condition:
    """Whether the traffic flows as the spec asks, to revisions that run."""
    if not routed:
        return configuration if configuration.status != "True" else _unknown("Routing", "the gateway is being told")
    for name in sorted(routed_revisions(routed)):
        state = states.get(name)
        if state is None or not state.is_ready:
            message = state.message if state else f"{name} is not started yet"
            return _false("RevisionFailed", message) if state and state.is_failed else _unknown("Deploying", message)
    if percent_by_revision(wanted) != percent_by_revision(routed):
        names = ", ".join(sorted(routed_revisions(wanted)))
        return _unknown("Routing", f"traffic moves as soon as {names} can take it")
    return _true()


def _both(first: Condition, second: Condition) -> Condition:
    # What failed counts before what is on its way.
    return next((each for status in ("False", "Unknown") for each in (first, second) if each.status == status), first)


def _render_condition(condition: Condition, previous: Mapping[str, Any], now: str) -> dict[str, Any]:
    before = next((old for old in previous.get("conditions", ()) if old["type"] == condition.type), None)
    since = before["lastTransitionTime"] if before and before["status"] == condition.status else now
    rendered = {"type": condition.type, "status": condition.status, "lastTransitionTime": since}
    return rendered | {key: text for key in ("reason", "message") if (text := getattr(condition, key))}


def _render_predictor(rollout: Rollout, routed: Iterable[TrafficTarget], url: str) -> dict[str, Any]:
    names = {
        "latestCreatedRevision": rollout.latest_created,
        "latestReadyRevision": rollout.latest_ready,
        "latestRolledoutRevision": rollout.latest_rolled_out,
        "previousRolledoutRevision": rollout.previous_rolled_out,
    }
    predictor: dict[str, Any] = {key: name for key, name in names.items() if name}
    if traffic := [_render_target(target) for target in routed]:
        predictor |= {"traffic": traffic, "url": url}
    return predictor


def _render_target(target: TrafficTarget) -> dict[str, Any]:
    entry = {"latestRevision": target.is_latest, "percent": target.percent, "revisionName": target.revision}
    return entry if target.is_latest else {**entry, "tag": "prev"}


def _model_status(
    rollout: Rollout, routed: Iterable[TrafficTarget], states: Mapping[str, RevisionState]
) -> dict[str, Any]:
    latest = states.get(rollout.latest_created)
    active = any(states[name].is_ready for name in routed_revisions(routed) if name in states)
    status: dict[str, Any] = {
        "transitionStatus": "InProgress",
        "states": {"activeModelState": "Loaded" if active else "Pending", "targetModelState": "Loading"},
        "copies": {"failedCopies": 0, "totalCopies": sum(state.is_ready for state in states.values())},
    }
    if latest and latest.is_ready:
        status["transitionStatus"], status["states"]["targetModelState"] = "UpToDate", "Loaded"
    elif latest and latest.is_failed:
        status["transitionStatus"], status["states"]["targetModelState"] = "BlockedByFailedLoad", "FailedToLoad"
        status["copies"]["failedCopies"] = 1
        status["lastFailureInfo"] = {
            "reason": "ModelLoadFailed",
            "message": latest.message,
            "modelRevisionName": rollout.latest_created,
        }
    return status


def _true() -> Condition:
    return Condition(type="", status="True")


def _false(reason: str, message: str) -> Condition:
    return Condition(type="", status="False", reason=reason, message=message)


def _unknown(reason: str, message: str) -> Condition:
    return Condition(type="", status="Unknown", reason=reason, message=message)
