"""A verdict: a decision with its reasons and the numbers on both sides. One JSON file."""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field


class Reason(BaseModel):
    """One check: what was measured, what the policy allows, whether it held, in a sentence."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    check: str
    value: float | str | None
    limit: float | str | None
    passed: bool
    text: str


class Verdict(BaseModel):
    """What a gate decided. A gate with no rules is an error: `reasons` is never empty."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: int = 1
    kind: str
    """Which gate: "validate", "drift_check", "evaluate", "rollout", "guard"."""
    verdict: str
    """One word of that gate: "accepted", "refused", "stable", "passed", "promoted", "rolled_back" …"""
    reasons: tuple[Reason, ...] = Field(min_length=1)
    inputs: dict[str, Any] = Field(default_factory=dict)
    """What it judged: digests, versions, sizes."""

    @property
    def failed(self) -> tuple[Reason, ...]:
        return tuple(reason for reason in self.reasons if not reason.passed)

    def summary(self) -> str:
        """One line for people: the failed checks, or the first that passed."""
        return "; ".join(reason.text for reason in self.failed or self.reasons[:1])
