"""When a run starts: the pure decision of when money is spent. `plan_tick` says how its gates stand to each other."""

from ratchet.core.runs.facts import (
    UNKNOWN_CODE,
    Check,
    CodeState,
    Explanation,
    LastRun,
    Rival,
    RunEnd,
    RunEndState,
    RunStart,
    Skip,
    SkipCode,
    Trigger,
    TriggerCode,
)
from ratchet.core.runs.hours import Hours, Opening
from ratchet.core.runs.identity import RETRAIN, ROLLOUT, run_key_of, run_name_of
from ratchet.core.runs.plan import explain, plan_request, plan_tick
from ratchet.core.runs.policy import Adaptive, Condition, TriggerPolicy
from ratchet.core.runs.situation import Situation
from ratchet.core.runs.threshold import threshold_at

__all__ = [
    "RETRAIN",
    "ROLLOUT",
    "UNKNOWN_CODE",
    "Adaptive",
    "Check",
    "CodeState",
    "Condition",
    "Explanation",
    "Hours",
    "LastRun",
    "Opening",
    "Rival",
    "RunEnd",
    "RunEndState",
    "RunStart",
    "Situation",
    "Skip",
    "SkipCode",
    "Trigger",
    "TriggerCode",
    "TriggerPolicy",
    "explain",
    "plan_request",
    "plan_tick",
    "run_key_of",
    "run_name_of",
    "threshold_at",
]
