"""What a run came to, as `runs list`, `runs show` and `run retrain --wait` say it."""

from collections.abc import Mapping, Sequence

from rich.text import Text

from cli import exit_codes
from cli.output import stderr, stdout
from ratchet.core.errors import RatchetError
from ratchet.core.ports import RunState, RunTask
from ratchet.core.runs.outcome import NOT_PROMOTED, Origin, Outcome
from ratchet.parallel import map_parallel
from ratchet.stores.run_outcomes import RunOutcomes

NOT_PROMOTED_CODE = exit_codes.NOT_PROMOTED
"""Exit code of a run that is green and left the champion as it was."""
_WORDS_OF_STATE = {"FAILED": "failed", "CANCELED": "canceled", "CANCELING": "canceling", "PENDING": "waiting"}
_STYLE_OF = {"promoted": "green", "failed": "bold red", "canceled": "yellow"}


def fetch_outcomes(outcomes: RunOutcomes, runs: Sequence[RunState]) -> dict[str, Outcome]:
    """By run id, one GET for each run that has ended. Nothing, with a warning, when the object store is away."""
    ended = [run.run_id for run in runs if run.is_finished]
    try:
        found = dict(zip(ended, map_parallel(outcomes.fetch_outcome, ended), strict=True))
    except RatchetError as error:
        stderr.print(f"the outcomes are unknown: {error}", markup=False)
        return {}
    return {run_id: outcome for run_id, outcome in found.items() if outcome is not None}


def fetch_origins(outcomes: RunOutcomes, run: RunState) -> Sequence[Origin]:
    """Which steps took an earlier result over, or might have. Nothing, and a warning, when the object store is away."""
    try:
        return outcomes.list_origins(run.run_id)
    except RatchetError as error:
        stderr.print(f"which steps were taken over is unknown: {error}", markup=False)
        return ()


def words_of(run: RunState, outcome: Outcome | None) -> str:
    """One or two words for a table. Of a run without an outcome, what its state says."""
    if not run.is_finished:
        return _WORDS_OF_STATE.get(run.state, "running")
    return outcome.words if outcome else _WORDS_OF_STATE.get(run.state, "")


def exit_code_of(run: RunState, outcome: Outcome | None) -> int:
    """0: a model was promoted, or the run had nothing to promote. 1: failed. 9: a gate or the rollout said no."""
    if not run.is_green:
        return 1
    return NOT_PROMOTED_CODE if outcome is not None and outcome.name in NOT_PROMOTED else 0


def outcome_text(outcome: Outcome) -> Text:
    """The outcome, why, and what to do next: a few lines."""
    gate = f" by {outcome.gate}" if outcome.reasons and outcome.gate else ""
    text = Text.assemble("outcome: ", (f"{outcome.words}{gate}", _STYLE_OF.get(outcome.name, "yellow")))
    reasons = [reason.text for reason in outcome.reasons] or [outcome.summary]
    for reason in reasons:
        text.append(f"\n  why:  {reason}")
    if outcome.closed:
        text.append(f"\n  also: {outcome.closed}")
    if outcome.next_step:
        text.append(f"\n  next: {outcome.next_step}")
    return text


def errors_text(run: RunState, tasks: Sequence[RunTask]) -> Text:
    """The whole error of each task whose own code failed, and the command that shows its log."""
    parents = {task.parent_id for task in tasks}
    failed = [task for task in tasks if task.state == "FAILED" and task.error and task.task_id not in parents]
    lines = [f"{task.name}: {task.error}\n  log:  ratchet runs logs {run.run_id} {task.name}" for task in failed]
    return Text("\n".join(lines), style="red")


def outcome_row(outcome: Outcome | None) -> Mapping[str, object] | None:
    """For --json."""
    return outcome.model_dump(mode="json") if outcome else None


def outcome_of(ended: RunState) -> tuple[Outcome | None, int]:
    """What an ended run came to, and the exit code that says it."""
    from ratchet import wiring

    outcome = fetch_outcomes(wiring.run_outcomes(), [ended]).get(ended.run_id)
    return outcome, exit_code_of(ended, outcome)


def print_outcome(outcome: Outcome | None) -> None:
    """For people; nothing while the outcome is unknown."""
    if outcome is not None:
        stdout.print(outcome_text(outcome))
