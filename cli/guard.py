"""`ratchet guard …`: what the guard sees of what serves."""

import typer

from cli.output import JsonFlag, print_rows

_COLUMNS = ("task", "at", "outcome", "champion", "reason", "registry")


def add_to(app: typer.Typer) -> None:
    """Add the commands of this group."""
    guard = typer.Typer(help="The guard: open rollouts, and champions after their promotion.")
    guard.command("status")(status)
    guard.callback()(_group)
    app.add_typer(guard, name="guard")


def _group() -> None:
    """A group of one command stays a group."""


def status(as_json: JsonFlag = False) -> None:
    """Show the guard's last look at each task: whether a rollout is orphaned or the champion got worse.

    Example: ratchet guard status
    """
    from ratchet import wiring

    rows = wiring.guard_service().fetch_status()
    print_rows(rows, columns=_COLUMNS, as_json=as_json, empty="The guard has not looked at a task yet.")
