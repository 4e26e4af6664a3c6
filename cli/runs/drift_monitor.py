"""`ratchet run drift-monitor`: a run by hand of what else runs by the clock."""

import secrets
from typing import Annotated

import typer

from cli.limits import TIMEOUT_S_MAX, check_finite
from cli.names import TaskOption
from cli.output import JsonFlag, print_json, stdout


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
    from cli.runs.view import watch
    from ratchet import wiring

    pipelines, name = wiring.pipelines(), f"drift-monitor-{task}-{secrets.token_hex(6)}"
    run_id = pipelines.submit("drift-monitor", run_name=name, experiment=task, parameters={"task": task})
    started = {"name": name, "run_id": run_id, "state": "PENDING", "error": ""}
    ended = watch(pipelines, run_id, timeout_s=timeout_s) if wait else None
    if ended is not None:
        started |= {"state": ended.state, "error": ended.error}
    if as_json:
        print_json(started)
    else:
        stdout.print(f"{name}  {started['state']}  {run_id}", markup=False)
    if ended is not None and not ended.is_green:
        raise typer.Exit(1)
