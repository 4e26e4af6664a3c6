"""A run of a pipeline that needs no turn in the journal: several at once do no harm."""

import secrets
from collections.abc import Mapping
from typing import Any

import typer

from cli.output import print_json, stdout


def start_by_hand(
    pipeline: str, *, task: str, parameters: Mapping[str, Any], timeout_s: float | None, as_json: bool
) -> None:
    """Start it and print its name. timeout_s: how long to wait for its end; None: not at all. Exit 1 when it failed."""
    from cli.runs.view import watch
    from ratchet import wiring

    pipelines, name = wiring.pipelines(), f"{pipeline}-{task}-{secrets.token_hex(6)}"
    run_id = pipelines.submit(pipeline, run_name=name, experiment=task, parameters=parameters)
    started = {"name": name, "run_id": run_id, "state": "PENDING", "error": ""}
    ended = watch(pipelines, run_id, timeout_s=timeout_s) if timeout_s is not None else None
    if ended is not None:
        started |= {"state": ended.state, "error": ended.error}
    if as_json:
        print_json(started)
    else:
        stdout.print(f"{name}  {started['state']}  {run_id}", markup=False)
    if ended is not None and not ended.is_green:
        raise typer.Exit(1)
