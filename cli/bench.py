"""`ratchet bench …`: what this machine makes of a task's choices."""

from typing import Annotated, Any

import typer

from cli.names import check_task, complete_task
from cli.output import JsonFlag, print_json, print_rows, stderr

bench = typer.Typer(help="Measure on this machine what a task file may choose.", no_args_is_help=True)

TaskArgument = Annotated[
    str, typer.Argument(help="Name of the task.", callback=check_task, autocompletion=complete_task)
]
_CHOICE_S_MAX = 600.0
_WORKERS_MAX = 256
"""Of one machine; each is a process that loads torch."""


def add_to(app: typer.Typer) -> None:
    """Add the commands of this group."""
    app.add_typer(bench, name="bench")


@bench.command()
def comm(
    task: TaskArgument,
    workers: Annotated[
        int | None, typer.Option(min=2, max=_WORKERS_MAX, help="Number of workers; default: as the task file says.")
    ] = None,
    choice_s: Annotated[
        float, typer.Option("--seconds", min=0.1, max=_CHOICE_S_MAX, help="Seconds of steps for each choice.")
    ] = 3.0,
    as_json: JsonFlag = False,
) -> None:
    """Time a task's training steps for each choice of `training.communication`, with its model on made-up rows.

    All workers run on this machine, so a network between machines is not measured. Examples:

    ratchet bench comm digits

    ratchet bench comm digits --workers 4 --seconds 10 --json
    """
    from ratchet import wiring
    from ratchet.actions.models.pacing import CHOICES, measure_communication

    spec = wiring.task_spec(task)
    training = spec.training.model_copy(update={"world_size": workers or spec.training.world_size, "num_nodes": 1})
    spec = spec.model_copy(update={"training": training})
    stderr.print(f"measuring {len(CHOICES)} choices with {training.world_size} workers …", markup=False)
    paces = measure_communication(spec, wiring.local_trainer(), choices=CHOICES, choice_s=choice_s)
    first = paces.paces[0].step_s
    rows = [_row_of(each, first) for each in paces.paces]
    if as_json:
        about = {"task": task, "workers": training.world_size, "threads": training.num_threads}
        print_json({**about, "parameters": paces.num_parameters, "choices": rows})
        return
    print_rows([_shown(row) for row in rows], columns=("choice", "steps/s", "ms/step", "speed", "found"), as_json=False)
    stderr.print(
        f"{paces.num_parameters:,} trained parameters, {training.world_size} workers of {training.num_threads} "
        f"threads, batches of {training.batch_size}. Speed: against the first row.",
        markup=False,
    )


def _row_of(pace: Any, first_step_s: float | None) -> dict[str, Any]:
    step_s = pace.step_s
    return {
        **pace.choice.communication.model_dump(),
        "choice": pace.choice.communication.text,
        "step_ms": None if step_s is None else step_s * 1e3,
        "steps_per_s": None if step_s is None else 1 / step_s,
        "speed": None if step_s is None or first_step_s is None else first_step_s / step_s,
        "num_steps": pace.num_steps,
        "error": pace.refusal,
    }


def _shown(row: dict[str, Any]) -> dict[str, Any]:
    return {
        "choice": row["choice"] or "the defaults",
        "steps/s": "" if row["steps_per_s"] is None else f"{row['steps_per_s']:.1f}",
        "ms/step": "" if row["step_ms"] is None else f"{row['step_ms']:.2f}",
        "speed": "" if row["speed"] is None else f"{row['speed']:.2f}x",
        "found": row["error"] or f"{row['num_steps']} steps",
    }
