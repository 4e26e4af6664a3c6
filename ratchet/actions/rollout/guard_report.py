"""What one look of the guard saw and did, in words."""

from typing import Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict

from ratchet.core.models.ledger import ModelRef
from ratchet.core.ports import ServiceState
from ratchet.core.rollout.champions import ChampionView
from ratchet.core.rollout.guard import GuardPolicy, Vigil

GuardOutcome = Literal[
    "absent",
    "not_serving",
    "rollout",
    "orphan",
    "closed",
    "mismatch",
    "learning",
    "well",
    "suspect",
    "worse",
    "rolled_back",
    "error",
]
"""not_serving: users of the champion get no answers. rollout: one is under way. orphan: it stands open and its run is
gone. mismatch: the service does not serve the ledger's champion. worse: proven, and the policy says that a person
decides."""
_ABOUT_ANSWERS = {"absent", "rollout", "orphan", "learning", "well", "suspect"}
"""Outcomes that say nothing worse than that the champion does not serve."""


class GuardReport(BaseModel):
    """What one look saw and did."""

    model_config = ConfigDict(frozen=True)

    task: str
    at: AwareDatetime
    outcome: GuardOutcome
    reason: str
    champion: str | None = None
    """Registry version."""
    num_past: int | None = None
    """Requests to compare with."""
    is_serving: bool | None = None
    """Whether the champion answers its users; None when there is none, or this look cannot tell."""
    registry: str = ""
    """Why MLflow does not agree with the ledger; "" when it does."""
    num_repairs: int = 0
    """Aliases that this process has set back in MLflow."""


def seen_by_users(report: GuardReport, view: ChampionView) -> GuardReport:
    """What the look saw and did, and above it whether users are answered: a champion that is not there is not "well".
    A deed of this look changed what was seen before it."""
    if view.state == "none" or report.outcome in {"closed", "rolled_back"}:
        return report
    seen = report.model_copy(update={"is_serving": view.state == "serving"})
    if view.state == "serving" or report.outcome not in _ABOUT_ANSWERS:
        return seen
    text = f"{view.reason}. {report.reason}" if report.outcome in {"rollout", "orphan"} else view.reason
    return seen.model_copy(update={"outcome": "not_serving", "reason": text, "champion": view.version})


def mismatch_text(state: ServiceState, champion: ModelRef, *, task: str) -> str:
    return (
        f"{state.storage_uri or 'no model'} is deployed, while the ledger's champion is version {champion.version}: "
        f"a rollback may have died. `ratchet rollback --task {task}` finishes it; "
        f"`ratchet models history {task}` shows the ledger"
    )


def vigil_text(vigil: Vigil, policy: GuardPolicy) -> str:
    if vigil.progress is None:
        return (
            f"{vigil.num_past} requests in {len(vigil.past)} windows of {vigil.revision} so far; "
            f"{policy.past_requests} in {policy.past_windows} are needed to compare with"
        )
    if not vigil.past:
        return f"{vigil.revision}: may be worse than it was, and its past is used up: a person decides"
    total = vigil.progress.total
    return (
        f"{vigil.revision}: {total.canary.num_errors} of {total.canary.num_requests} failed lately, "
        f"{total.stable.num_errors} of {total.stable.num_requests} before"
    )
