"""How a rollout ended, and the reasons that are not the judge's."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ratchet.core.errors import Unavailable
from ratchet.core.models.ledger import LedgerEntry, ModelRef, refusal_of
from ratchet.core.rollout.history import History, policy_digest_of
from ratchet.core.rollout.policy import RolloutPolicy
from ratchet.core.rollout.report import render_report
from ratchet.core.runs.outcome import NEXT_STEP
from ratchet.core.verdict import Reason, Verdict

VerdictName = Literal["promoted", "rolled_back", "inconclusive", "no_traffic"]
NO_LOOKS = History()


@dataclass(frozen=True)
class RolloutEnd:
    """What the verdict says, why, and the looks that led to it."""

    name: VerdictName
    reasons: tuple[Reason, ...]
    history: History = NO_LOOKS
    verdict: Verdict | None = None
    """The verdict of an earlier attempt, which stands."""


def render_verdict(outcome: RolloutEnd, *, task: str, model: ModelRef, run_id: str, policy: RolloutPolicy) -> Verdict:
    inputs = {
        "task": task,
        "run_id": run_id,
        "model_version": model.version,
        "model_digest": model.digest,
        "dataset_version": model.dataset_version,
        "policy_digest": policy_digest_of(policy),
    }
    return outcome.verdict or Verdict(
        kind="rollout", verdict=outcome.name, reasons=outcome.reasons, inputs=inputs | outcome.history.as_inputs()
    )


def write_verdict(verdict: Verdict, history: History, *, title: str, verdict_path: Path, report_path: Path) -> None:
    """As JSON, and as a page for people."""
    for path, text in (
        (verdict_path, verdict.model_dump_json(indent=2) + "\n"),
        (report_path, render_report(verdict, history, title=title)),
    ):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def ledger_reason(entry: LedgerEntry, *, passed: bool) -> Reason:
    text = f"ledger entry {entry.seq} ({entry.kind}): {entry.reason}"
    return Reason(check="ledger", value=entry.kind, limit="promoted", passed=passed, text=text)


def refused_reason(model: ModelRef, entries: Sequence[LedgerEntry]) -> Reason:
    entry = refusal_of(entries, model.digest)
    assert entry is not None
    text = (
        f"model {model.digest[:12]} was rolled back by run {entry.run_id} (ledger entry {entry.seq}: {entry.reason}); "
        f"`ratchet models allow {entry.task}/{model.version} --reason ...` takes that back"
    )
    return Reason(check="deny_list", value=model.digest, limit="not rolled back before", passed=False, text=text)


def unready_reason(error: Unavailable, *, limit_s: float) -> Reason:
    return Reason(check="ready", value="not ready", limit=limit_s, passed=False, text=str(error))


def other_champion_reason(*, began_with: ModelRef, now: ModelRef) -> Reason:
    text = f"this rollout was compared with version {began_with.version}; meanwhile version {now.version} is champion"
    return Reason(check="champion", value=now.digest, limit=began_with.digest, passed=False, text=text)


def try_again_reason(task: str, model: ModelRef) -> Reason:
    name = model.version or model.digest[:12]
    text = f"once there are requests, `ratchet rollout start --task {task} --version {name}` tries it again"
    return Reason(check=NEXT_STEP, value="no requests", limit="requests", passed=False, text=text)


def files_reason(trouble: str) -> Reason:
    return Reason(check="files", value="not whole", limit="whole", passed=False, text=trouble)


def untold_reason(text: str) -> Reason:
    """Beside a verdict that stands: what is in the ledger is done."""
    return Reason(check="registry", value="not told", limit="told", passed=False, text=text)


def first_champion_reason() -> Reason:
    text = "the first model of its task is ready"
    return Reason(check="first_champion", value="ready", limit="ready", passed=True, text=text)
