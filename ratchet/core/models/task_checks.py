"""Whether the code of a task can train: what was tried, and what came of it. Pure."""

from collections.abc import Sequence
from typing import Literal

from pydantic import BaseModel, ConfigDict


class CheckResult(BaseModel):
    """One check of one task."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    task: str
    check: str
    state: Literal["begun", "passed", "failed"]
    text: str = ""
    """What was found; of a failure the exception with the user's file and line."""
    warning: str = ""
    """Of a check that passed: what may be a mistake all the same."""


class TaskReport(BaseModel):
    """All that is known of one task."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    task: str
    implementation: str
    results: tuple[CheckResult, ...] = ()
    not_checked: str = ""
    """Why it could not be tried here; "" when it was."""

    @property
    def problem(self) -> str:
        """The first check that failed, in a sentence; "" when none did."""
        return next((f"{each.check}: {each.text}" for each in self.results if each.state == "failed"), "")

    @property
    def is_fine(self) -> bool:
        return not self.problem


def reports_of(
    tasks: Sequence[tuple[str, str]], results: Sequence[CheckResult], *, ending: str
) -> tuple[TaskReport, ...]:
    """The reports of tasks (name and implementation), given what the process told until it ended.

    ending: how the process ended when not by itself; it is the failure of the check that had begun.
    """
    return tuple(_report_of(task, implementation, results, ending=ending) for task, implementation in tasks)


def _report_of(task: str, implementation: str, results: Sequence[CheckResult], *, ending: str) -> TaskReport:
    own = [each for each in results if each.task == task]
    ended = [each for each in own if each.state != "begun"]
    if own and own[-1].state == "begun":
        words = ending or "the process ended without a word: os._exit in the task's code?"
        ended.append(CheckResult(task=task, check=own[-1].check, state="failed", text=words))
    not_checked = "" if own else f"not reached: {ending}" if ending else "not reached"
    return TaskReport(task=task, implementation=implementation, results=tuple(ended), not_checked=not_checked)
