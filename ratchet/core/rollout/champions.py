"""Does a task's champion serve its users? One answer for command line, doctor, guard and metrics. Pure."""

from typing import Literal

from pydantic import BaseModel, ConfigDict

from ratchet.core.models.ledger import ModelRef
from ratchet.core.ports import ServiceState


class ChampionView(BaseModel):
    """How a champion is."""

    model_config = ConfigDict(frozen=True)

    task: str
    state: Literal["serving", "starting", "not_serving", "none", "unknown"]
    """none: no model has been promoted yet. unknown: what tells could not be asked."""
    reason: str = ""
    """Why it does not serve; "" when it does."""
    version: str = ""
    """In the registry; "" without a champion."""
    digest: str = ""

    @property
    def is_fine(self) -> bool:
        """Missing evidence is no good news."""
        return self.state in {"serving", "none"}

    @property
    def text(self) -> str:
        """One line for people."""
        if self.state == "none":
            return "no model has been promoted yet"
        champion = f"version {self.version} ({self.digest[:12]})" if self.version else "the champion"
        if self.state == "serving":
            return f"serving {champion}"
        return f"{'STARTING' if self.state == 'starting' else 'NOT SERVING'} {champion}: {self.reason}"


def champion_view(task: str, champion: ModelRef | None, state: ServiceState | None) -> ChampionView:
    """How the ledger's champion is, by its InferenceService (None = there is none)."""
    if champion is None:
        return ChampionView(task=task, state="none")
    seen = ChampionView(task=task, state="serving", version=champion.version, digest=champion.digest)
    if state is None:
        return _failing(seen, f"the InferenceService {task} does not exist")
    if not state.canary_revision and state.storage_uri != champion.uri:
        return _failing(seen, f"{state.storage_uri or 'no model'} is deployed in its place")
    if not state.stable_message:
        return seen
    reason = state.stable_message.partition("\n")[0].strip().rstrip(".")
    return seen.model_copy(update={"state": "not_serving" if state.is_failed else "starting", "reason": reason})


def unknown_view(task: str, error: Exception) -> ChampionView:
    """Where the ledger or the InferenceService could not be read."""
    return ChampionView(task=task, state="unknown", reason=str(error))


def _failing(seen: ChampionView, reason: str) -> ChampionView:
    return seen.model_copy(update={"state": "not_serving", "reason": reason})
