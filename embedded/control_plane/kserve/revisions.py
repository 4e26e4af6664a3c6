"""KServe's rule of who gets the traffic (Knative mode), as pure functions.

Sources, in KServe's repository: `createKnativeService` in pkg/controller/v1beta1/inferenceservice/reconcilers/knative/
ksvc_reconciler.go (`plan_traffic`), and `PropagateStatus` in pkg/apis/serving/v1beta1/inference_service_status.go
(`advance`). KServe applies the two in turn until nothing changes; `converge` does the same at once, so that the
moments in between, in which KServe can show a traffic split that nobody asked for, never reach a user.
"""

from collections import Counter
from collections.abc import Iterable, Mapping

from pydantic import BaseModel, ConfigDict

_NUM_ROUNDS_MAX = 4
"""A rollout or a roll-back changes the markers once; one more round confirms it. Asserted, see `converge`."""
NUM_OLD_REVISIONS_KEPT = 20
"""Knative's `min-non-active-revisions` (config-gc): enough to see what was tried lately."""


class Rollout(BaseModel):
    """Revisions of one predictor as its status names them; "" = none yet."""

    model_config = ConfigDict(frozen=True)

    latest_created: str = ""
    latest_ready: str = ""
    """The newest that has ever been ready; it does not go back when that one dies."""
    latest_rolled_out: str = ""
    """The last that had all the traffic."""
    previous_rolled_out: str = ""


class TrafficTarget(BaseModel):
    """One entry of `status.components.predictor.traffic`."""

    model_config = ConfigDict(frozen=True)

    revision: str
    percent: int
    is_latest: bool
    """Follows the latest ready revision, instead of a revision by name (tag "prev")."""


def revision_name(service: str, number: int) -> str:
    """As Knative names them: `digits-predictor-00002`."""
    return f"{service}-predictor-{number:05d}"


def standard_revision(service: str) -> str:
    """In Standard mode a service has one revision, named as KServe names its Service and its Deployment."""
    return f"{service}-predictor"


def revision_number(name: str) -> int:
    """2 of `digits-predictor-00002`."""
    return int(name.rpartition("-")[2])


def serving_revisions(rollout: Rollout, routed: Iterable[TrafficTarget]) -> frozenset[str]:
    """The revisions that have traffic or that the rule may give some: the others can never serve again."""
    markers = (rollout.latest_created, rollout.latest_ready, rollout.latest_rolled_out, rollout.previous_rolled_out)
    return frozenset(name for name in markers if name) | routed_revisions(routed)


def obsolete_revisions(
    names: Iterable[str], rollout: Rollout, routed: Iterable[TrafficTarget], *, num_kept: int = NUM_OLD_REVISIONS_KEPT
) -> tuple[str, ...]:
    """Which to forget: those that can never serve again, beyond the newest `num_kept` of them."""
    kept = serving_revisions(rollout, routed)
    old = sorted((name for name in names if name not in kept), key=revision_number)
    return tuple(old[: max(0, len(old) - num_kept)])


def plan_traffic(rollout: Rollout, *, canary_traffic_pct: int | None) -> tuple[TrafficTarget, ...]:
    """Who should have how much: the canary share to the latest ready revision, the rest to the last rolled-out one."""
    if not rollout.latest_ready:
        return ()
    if canary_traffic_pct is None or not rollout.latest_rolled_out:
        return (TrafficTarget(revision=rollout.latest_ready, percent=100, is_latest=True),)
    latest = TrafficTarget(revision=rollout.latest_ready, percent=canary_traffic_pct, is_latest=True)
    if canary_traffic_pct == 100:
        return (latest,)
    rest = TrafficTarget(revision=rollout.latest_rolled_out, percent=100 - canary_traffic_pct, is_latest=False)
    return (latest, rest)


def mirrored_revision(rollout: Rollout, targets: Iterable[TrafficTarget]) -> str:
    """Who may get copies of the stable revision's requests: the newest one, ready but without traffic; "" for none."""
    newest = rollout.latest_created
    is_dark = newest and newest == rollout.latest_ready != rollout.latest_rolled_out
    return newest if is_dark and rollout.latest_rolled_out and newest not in routed_revisions(targets) else ""


def advance(rollout: Rollout, targets: Iterable[TrafficTarget]) -> Rollout:
    """The markers once this traffic flows: all of it on the latest revision rolls out, taking it away rolls back."""
    percent = percent_by_revision(targets)
    latest = next((target for target in targets if target.is_latest), None)
    if latest is None or latest.revision != rollout.latest_ready:
        return rollout
    if rollout.latest_rolled_out != rollout.latest_ready:
        if latest.percent != 100:
            return rollout
        return rollout.model_copy(
            update={"latest_rolled_out": rollout.latest_ready, "previous_rolled_out": rollout.latest_rolled_out}
        )
    is_taken_back = latest.percent < 100 and percent[latest.revision] == 100
    if is_taken_back and rollout.latest_ready == rollout.latest_created and rollout.previous_rolled_out:
        return rollout.model_copy(update={"latest_rolled_out": rollout.previous_rolled_out})
    return rollout


def converge(rollout: Rollout, *, canary_traffic_pct: int | None) -> tuple[Rollout, tuple[TrafficTarget, ...]]:
    """The markers and the traffic that KServe comes to rest at."""
    for _ in range(_NUM_ROUNDS_MAX):
        targets = plan_traffic(rollout, canary_traffic_pct=canary_traffic_pct)
        advanced = advance(rollout, targets)
        if advanced == rollout:
            return rollout, targets
        rollout = advanced
    raise AssertionError(f"{rollout} with {canary_traffic_pct} % never converges")


def percent_by_revision(targets: Iterable[TrafficTarget]) -> Mapping[str, int]:
    """Revision to per cent; one that is named twice has the sum."""
    percent: Counter[str] = Counter()
    for target in targets:
        percent[target.revision] += target.percent
    return percent


def routed_revisions(targets: Iterable[TrafficTarget]) -> frozenset[str]:
    """Revisions that get any traffic at all."""
    return frozenset(name for name, percent in percent_by_revision(targets).items() if percent > 0)
