"""`ratchet run drift-monitor`: a run by hand of what else runs by the clock."""

from typing import Annotated

import typer

from cli.limits import TIMEOUT_S_MAX, check_finite
from cli.names import TaskOption
from cli.output import JsonFlag
from cli.runs.by_hand import start_by_hand


def add_to(group: typer.Typer) -> None:
    """Add the commands of this module to `ratchet run`."""
    group.command("drift-monitor")(drift_monitor)


def drift_monitor(
    task: TaskOption,
    wait: Annotated[bool, typer.Option("--wait", help="Wait for the end of the run; exit 1 when it failed.")] = False,
    timeout_s: Annotated[
        float,
        typer.Option(min=1, max=TIMEOUT_S_MAX, callback=check_finite, help="Seconds to wait for the end of the run."),
    ] = 3600.0,
    as_json: JsonFlag = False,
) -> None:
    """Compare production with the champion's training data now. Several such runs at once do no harm.

    Example: ratchet run drift-monitor --task digits --wait
    """
    start_by_hand(
        "drift-monitor",
        task=task,
        parameters={"task": task},
        timeout_s=timeout_s if wait else None,
        as_json=as_json,
    )
