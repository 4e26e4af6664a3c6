"""What a decision looks at, and what it says."""

from collections.abc import Mapping
from typing import Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from ratchet.core.runs.identity import RETRAIN

RunEndState = Literal["SUCCEEDED", "SKIPPED", "FAILED", "CANCELED"]
"""CANCELED: a person stopped it, so nothing retries it."""
TriggerCode = Literal["threshold", "max_age", "when", "retry", "owed", "by_hand"]
"""Why a run starts. when: the policy's own tree of conditions. owed: an accepted batch that no model has seen."""
SkipCode = Literal[
    "busy",
    "short",
    "broken_task",
    "needs_change",
    "failed_too_often",
    "retry_wait",
    "cooldown",
    "budget",
    "closed_hours",
    "no_slot",
    "yields",
    "seen",
]
"""Why none does, in the order of the gates. seen: a person asked for a run on the same labels without --again."""


class _Value(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class RunStart(_Value):
    """One run that was claimed for the task, whoever asked for it: it cost money."""

    at: AwareDatetime
    ended_at: AwareDatetime | None = None
    """None while it runs."""


class Rival(_Value):
    """Another task, as it was last seen."""

    task: str
    priority: int
    """`TriggerPolicy.priority` of its policy."""
    is_running: bool
    is_due: bool
    """Only a slot stands in its way: its newest tick was skipped with the code no_slot or yields."""
    last_started_at: AwareDatetime | None
    """Its newest claim; None when it never ran. Among equal priorities whoever waited longest since goes first."""


class Trigger(_Value):
    """Start a run, and why."""

    run_key: str
    reason: str
    code: TriggerCode = "threshold"
    task: str
    watermark: str
    """Of a rollout, which has none, what makes its run key unlike every other."""
    attempt: int = Field(ge=0)
    """How many runs started from this watermark before."""
    policy_digest: str
    num_labels: int = Field(ge=0)
    """New labels that it starts with."""
    num_by_class: Mapping[str, int] = Field(default_factory=dict)
    """Of these, as far as the shards say."""
    newest_shard: str
    """The last of their shards; "" when there is none."""
    shards_digest: str
    """`Backlog.digest_through(newest_shard)`."""
    num_failed_before: int = Field(0, ge=0)
    """Failed runs in a row right before this one."""
    trains_accepted: bool = False
    """Its labels are accepted already: the run that took them in failed later."""
    pipeline: str = RETRAIN
    """What runs. A rollout of a registered model claims a place too, and is no training: the sensor looks past it."""
    parameters: Mapping[str, str] = Field(default_factory=dict)
    """Of the run, beside task and run key."""
    overrides: tuple[SkipCode, ...] = ()
    """The limits of the policy that a person's request went past."""


class CodeState(_Value):
    """What is known of the code that implements a task, here."""

    digest: str = ""
    """"" where it is not installed."""
    problem: str = ""
    """Why it cannot train, as `ratchet tasks check` says; "" when it can, or when nobody could try."""


UNKNOWN_CODE = CodeState()


class Skip(_Value):
    """Start nothing, and why."""

    reason: str
    code: SkipCode
    not_before: AwareDatetime | None = None
    """The first moment at which a run starts when nothing but the time changes; None: time alone starts none."""


class Check(_Value):
    """One gate on the way to a run."""

    code: SkipCode
    passed: bool
    text: str
    """One clause with the numbers on both sides. It names moments, never what is left of a wait: while nothing
    changes it stays the same, and a log of ticks can fold it."""
    not_before: AwareDatetime | None = None
    """Of a failed gate: it stays failed until then at least. None: time alone does not open it."""


class Explanation(_Value):
    """The outcome and every gate that it came from, in order."""

    checks: tuple[Check, ...]
    outcome: Trigger | Skip


class RunEnd(_Value):
    """How a run ended, as it was first seen."""

    state: RunEndState
    at: AwareDatetime
    error: str = ""
    outcome: str = ""
    """`ratchet.core.runs.outcome.OutcomeName`; "" of a run that left none."""
    summary: str = ""
    """Why, in a sentence."""
    next_step: str = ""
    is_retryable: bool = True
    """Of a failed run. False: the same code, labels and policies fail again."""
    code_digest: str = ""
    """Of the code that failed so; "" when it is not known."""


class LastRun(_Value):
    """The newest run that was claimed for a task."""

    name: str
    """Display name in KFP."""
    trigger: Trigger
    end: RunEnd | None = None
    """None while it runs."""

    @property
    def has_failed(self) -> bool:
        return self.end is not None and self.end.state == "FAILED"

    @property
    def num_failed(self) -> int:
        """Failed runs in a row, with this one."""
        return self.trigger.num_failed_before + 1 if self.has_failed else 0
