"""What `ratchet up | status | doctor` say of the champions: which task serves, and why one does not."""

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from rich.text import Text

from cli.exit_codes import NOT_SERVING
from cli.output import stderr, stdout
from ratchet.core.errors import RatchetError, Unavailable
from ratchet.core.rollout.champions import ChampionView, unknown_view

if TYPE_CHECKING:
    from embedded.doctor import Finding
    from embedded.status import StackStatus

_NEEDED = ("object_store", "control_plane")
"""What tells who is champion and how it is."""
_ACCESS = ("S3 credential", "Kubernetes token")
"""The doctor's findings about the way to those."""
_SERVING_WITHIN_S = 130.0
"""A model server has 120 s for its first "ready"."""


def see_champions(current: "StackStatus") -> tuple[ChampionView, ...]:
    """One look at every task. A server that is down is not asked: its retries would hold up the answer."""
    from ratchet import wiring

    down = [service.name for service in current.services if service.name in _NEEDED and service.state != "ready"]
    if down:
        error = Unavailable(f"{' and '.join(down)} did not answer, so it is not known")
        return tuple(unknown_view(task, error) for task in wiring.task_names())
    return _look_now()


def await_champions() -> tuple[ChampionView, ...]:
    """Until every champion serves or has failed to."""
    from ratchet import wiring
    from ratchet.actions.rollout.champions import wait_for_champions

    def ask() -> tuple[ChampionView, ...]:
        return wait_for_champions(
            wiring.task_names(),
            ledger=wiring.ledger,
            services=wiring.inference_services,
            clock=wiring.clock(),
            within_s=_SERVING_WITHIN_S,
        )

    if stderr.is_terminal:
        with stderr.status("waiting for the champions to serve"):
            return _asked(ask)
    return _asked(ask)


def print_champions(views: Sequence[ChampionView]) -> None:
    """A line a task on standard output."""
    for view in views:
        style = "green" if view.state == "serving" else "" if view.is_fine else "bold red"
        stdout.print(Text(f"{view.task:<11} {view.text}", style=style), soft_wrap=True)


def report_failing(views: Iterable[ChampionView]) -> int:
    """Say on standard error what does not serve and what to do; gives the exit code."""
    failing = [view for view in views if not view.is_fine]
    for view in failing:
        stderr.print(
            f"{view.task}: {view.text.rstrip('.')}. {fix_of(view)}.", markup=False, soft_wrap=True, style="bold red"
        )
    return NOT_SERVING if failing else 0


def champion_findings(others: "Sequence[Finding]") -> "list[Finding]":
    """For the doctor: one finding a task; none while those before say that the servers to ask cannot be reached."""
    from embedded.doctor import Finding

    if any(not other.is_fine for other in others if other.name in _ACCESS):
        return []
    return [
        Finding(
            name=f"champion of {view.task}",
            is_fine=view.is_fine,
            detail=view.text,
            fix="" if view.is_fine else fix_of(view),
        )
        for view in _look_now()
    ]


def fix_of(view: ChampionView) -> str:
    """The next step."""
    if view.state == "unknown":
        return "`ratchet status` shows the servers"
    return (
        f"`ratchet rollback --task {view.task}` serves the previous champion; docs/runbook.md, "
        '"A champion does not serve", has other solutions'
    )


def _look_now() -> tuple[ChampionView, ...]:
    from ratchet import wiring
    from ratchet.actions.rollout.champions import look_at_champions

    return _asked(
        lambda: look_at_champions(wiring.task_names(), ledger=wiring.ledger, services=wiring.inference_services)
    )


def _asked(ask: Callable[[], tuple[ChampionView, ...]]) -> tuple[ChampionView, ...]:
    """Where even the tasks cannot be listed, that is what is said."""
    try:
        return ask()
    except (RatchetError, OSError) as error:
        return (unknown_view("(all tasks)", error),)
