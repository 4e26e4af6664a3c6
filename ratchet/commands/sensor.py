"""`ratchet sensor …`: what the label sensor saw and decided."""

from typing import Annotated, Any

import typer

from ratchet.commands.output import JsonFlag, TaskOption, print_json, print_rows, stdout

sensor = typer.Typer(help="What the label sensor sees, and why it starts a run or does not.", no_args_is_help=True)

_COLUMNS = ("task", "at", "outcome", "num_pending", "threshold", "reason")


def add_to(app: typer.Typer) -> None:
    """Add the commands of this group."""
    app.add_typer(sensor, name="sensor")


@sensor.command()
def status(as_json: JsonFlag = False) -> None:
    """Show the last tick of each task, with its reason.

    Example: ratchet sensor status
    """
    from ratchet import wiring

    rows = wiring.sensor_service().fetch_status()
    print_rows(rows, columns=_COLUMNS, as_json=as_json, empty="The sensor has not ticked yet.")


@sensor.command()
def ticks(
    task: TaskOption,
    limit: Annotated[int, typer.Option(min=1, help="How many, newest first.")] = 20,
    as_json: JsonFlag = False,
) -> None:
    """Show what the sensor decided lately; equal ticks in a row are one.

    Example: ratchet sensor ticks --task digits
    """
    from ratchet import wiring

    status_of = {each["task"]: each for each in wiring.sensor_service().fetch_status()}
    history = status_of.get(task, {}).get("history", [])[:limit]
    print_rows(history, columns=_COLUMNS[1:], as_json=as_json, empty=f"The sensor has not ticked {task} yet.")


@sensor.command()
def tick(
    task: TaskOption,
    timeout_s: Annotated[float, typer.Option(min=0.1, help="How long to wait for the answer.")] = 30.0,
    as_json: JsonFlag = False,
) -> None:
    """Have the sensor look at a task now, and say what it decided.

    Example: ratchet sensor tick --task digits
    """
    from ratchet import wiring

    seen = wiring.sensor_service().tick(task, timeout_s=timeout_s)
    if as_json:
        print_json({name: value for name, value in seen.items() if name != "history"})
    else:
        stdout.print(_sentence_of(seen), markup=False)


def _sentence_of(seen: dict[str, Any]) -> str:
    run = f" ({seen['run_name']}, run {seen['run_id']})" if seen.get("run_name") else ""
    return f"{seen['task']}: {seen['outcome']}: {seen['reason']}{run}"
