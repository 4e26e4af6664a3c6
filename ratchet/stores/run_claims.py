"""What the journal of runs holds: claims, leases, runs, and all that it says about one claim."""

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from ratchet.core.runs import LastRun, RunEnd, Trigger, run_name_of

NOBODY = ""
"""The run id of a claim that is closed without a run."""


class AdoptedRun(BaseModel):
    """A run that was there before its claim: a person or a schedule started it in KFP itself."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    run_id: str
    name: str


class RunClaim(BaseModel):
    """Who may start a run, and with what in view."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    seq: int = Field(ge=1)
    owner: str
    """Unique for each attempt to claim: a retried PUT must not take another's claim for its own."""
    claimed_at: AwareDatetime
    trigger: Trigger
    adopted: AdoptedRun | None = None

    @property
    def run_name(self) -> str:
        """Its display name in KFP."""
        return (
            self.adopted.name
            if self.adopted
            else run_name_of(self.trigger.task, self.trigger.run_key, pipeline=self.trigger.pipeline)
        )


class Lease(BaseModel):
    """The right to submit a claimed run."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    number: int
    owner: str
    taken_at: AwareDatetime
    """For people: when a lease is over is nobody's wall clock's to say."""


class SubmittedRun(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    run_id: str
    error: str = ""
    """Why there is none."""


class ClaimedRun(BaseModel):
    """All that the journal says about one claim."""

    model_config = ConfigDict(frozen=True)

    claim: RunClaim
    lease: Lease
    run_id: str | None = None
    """None while nobody recorded one; NOBODY when there never will be one."""
    error: str = ""
    """Why there never will be one."""
    end: RunEnd | None = None

    @property
    def is_unsubmitted(self) -> bool:
        """Whether its run may be started still."""
        return self.run_id is None and self.end is None

    def as_last_run(self) -> LastRun:
        return LastRun(name=self.claim.run_name, trigger=self.claim.trigger, end=self.end)
