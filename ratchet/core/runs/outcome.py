"""What a run came to, in a word, a sentence and the next step. Pure.

KFP knows whether a run is green; the gates know why it promoted nothing. Each gate's verdict and each step's failure
are kept with the run, and one rule makes an outcome of them.
"""

from collections.abc import Mapping
from typing import Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict

from ratchet.core.verdict import Reason, Verdict

OutcomeState = Literal["SUCCEEDED", "FAILED", "CANCELED", "SUPERSEDED"]
"""SUPERSEDED: another run is the one of this run key, or was in flight; this one ended without effect."""
OutcomeName = Literal[
    "promoted",
    "refused_labels",
    "refused_model",
    "rolled_back",
    "withdrawn",
    "no_traffic",
    "superseded",
    "canceled",
    "failed",
    "done",
]
"""done: the run is green and no gate has left a verdict."""
NOT_PROMOTED: frozenset[str] = frozenset({"refused_labels", "refused_model", "rolled_back", "withdrawn", "no_traffic"})
"""Green runs that left the champion as it was."""
_ROLLOUT_NAMES: Mapping[str, OutcomeName] = {
    "promoted": "promoted",
    "rolled_back": "rolled_back",
    "no_traffic": "no_traffic",
    "inconclusive": "withdrawn",
}
NEXT_STEP = "next_step"
"""Of a verdict: a reason that says what to do, and no check that failed."""


class RunFailure(BaseModel):
    """Why a step failed."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    step: str
    text: str
    is_retryable: bool
    """False: the same code, labels and policies fail again."""
    code_digest: str = ""
    """Of the task's code, so that an edit of it is noticed; "" where it is not known."""
    kind: str = ""
    """Name of the class in `ratchet.core.errors`; "" of any other exception."""
    after: str = ""
    """The end of this run that was on record when the step failed, by its time; "" when it had never ended. While no
    other is on record, KFP is still in the round of attempts in which the step failed."""


class Origin(BaseModel):
    """Whose result a step handed on, where there was an earlier one (`origin-<step>.json` of its run's outcome)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    step: str
    taken_from: str
    """The run that did the work; "" when this step did it, though there was an earlier result."""
    text: str


class Outcome(BaseModel):
    """`s3://ratchet/outcomes/<run id>/outcome.json`, written by `notify`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: int = 2
    task: str
    run_key: str
    run_id: str
    state: OutcomeState
    name: OutcomeName
    gate: str = ""
    """The gate that decided: `Verdict.kind`."""
    summary: str
    """Why, with both numbers of each check that decided."""
    next_step: str = ""
    reasons: tuple[Reason, ...] = ()
    """The checks that did not hold."""
    model_version: str = ""
    """In the registry; "" when the run registered none."""
    failure: RunFailure | None = None
    error: str = ""
    """What KFP said; often nothing."""
    closed: str = ""
    """What was done about a canary that was left open; "" when nothing was."""
    at: AwareDatetime

    @property
    def words(self) -> str:
        """The name for people."""
        return self.name.replace("_", " ")


class Ended(BaseModel):
    """What `decide_outcome` looks at."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    task: str
    run_key: str
    run_id: str
    state: OutcomeState
    error: str
    closed: str
    at: AwareDatetime


def decide_outcome(run: Ended, verdicts: Mapping[str, Verdict], failure: RunFailure | None) -> Outcome:
    """The outcome of a run that ended. verdicts: by gate, "validate", "evaluate" and "rollout"; a missing one has not
    been reached. failure: of the step that failed, when it could say why."""
    decided = _decide_unfinished(run, failure) if run.state != "SUCCEEDED" else _decide_green(run, verdicts)
    return Outcome(**run.model_dump(), failure=failure if run.state == "FAILED" else None, **decided)


def _decide_unfinished(run: Ended, failure: RunFailure | None) -> dict[str, object]:
    again = f"`ratchet run retrain --task {run.task} --again`"
    if run.state == "SUPERSEDED":
        return {
            "name": "superseded",
            "summary": "this run had no effect: another run of the task was in flight, or holds this run key",
            "next_step": f"nothing; {again} starts a new run",
        }
    if run.state == "CANCELED":
        return {
            "name": "canceled",
            "summary": "the run was terminated by hand",
            "next_step": f"{again} starts a new run",
        }
    told = run.error or "a step failed and left no error"
    summary = f"{failure.step}: {failure.text}" if failure else told
    if failure is not None and not failure.is_retryable:
        step = f"correct the cause; the sensor waits until the task or its policies change; {again} starts a run now"
    else:
        step = f"the sensor retries it; `ratchet runs logs {run.run_id}` shows the logs"
    return {"name": "failed", "summary": summary, "next_step": step}


def _decide_green(run: Ended, verdicts: Mapping[str, Verdict]) -> dict[str, object]:
    rollout, evaluated, validated = (verdicts.get(name) for name in ("rollout", "evaluate", "validate"))
    if rollout is not None:
        name = _ROLLOUT_NAMES.get(rollout.verdict, "withdrawn")
        return _of_gate(name, rollout, _after_rollout(name, rollout, task=run.task))
    if evaluated is not None and evaluated.verdict != "passed":
        return _of_gate("refused_model", evaluated, step_after_refused_model(run.task))
    if validated is not None and validated.verdict != "accepted":
        step = (
            f"`ratchet labels quarantine list --task {run.task}` shows what is set aside and how to take it back; "
            f"`ratchet run retrain --task {run.task} --again` trains on the other labels"
        )
        return _of_gate("refused_labels", validated, step)
    return {
        "name": "done",
        "summary": "the run succeeded, but no gate left a verdict",
        "next_step": f"`ratchet runs show {run.run_id}` shows its tasks",
    }


def step_after_refused_model(task: str) -> str:
    """What helps when the gate between training and serving said no."""
    return (
        f"push more or better labels, or change the limits in the evaluation policy if {task!r} cannot reach them; "
        f"`ratchet run retrain --task {task} --again` trains on the same labels"
    )


def _of_gate(name: OutcomeName, verdict: Verdict, next_step: str) -> dict[str, object]:
    reasons = tuple(reason for reason in verdict.failed if reason.check != NEXT_STEP)
    return {
        "name": name,
        "gate": verdict.kind,
        "summary": "; ".join(reason.text for reason in reasons) or verdict.summary(),
        "next_step": next_step,
        "reasons": () if name == "promoted" else reasons,
        "model_version": str(verdict.inputs.get("model_version", "")),
    }


def _after_rollout(name: OutcomeName, verdict: Verdict, *, task: str) -> str:
    version = verdict.inputs.get("model_version", "")
    again = f"`ratchet rollout start --task {task} --version {version}`"
    if name == "promoted":
        return f"nothing; `ratchet models show {task}@champion` shows it"
    if name == "rolled_back":
        return (
            f"`ratchet rollout status --task {task}` shows the evidence; "
            f"`ratchet models allow {task}/{version} --reason …`, then {again}, tries it again"
        )
    return f"{again} tries it again{' once there are requests' if name == 'no_traffic' else ''}"
