"""Every command of the program, taken from it, with words that it takes."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

from cli.main import app

START_SOMETHING = {"up", "down", "demo", "bench"}
KINDS = {"task": "task", "task_option": "task", "run": "run", "schedule": "schedule", "pipeline": "pipeline",
         "model": "model"}  # fmt: skip
KNOWN = {"task": "digits", "run": "retrain-digits-1", "schedule": "night", "pipeline": "retrain", "model": "digits/1"}
UNKNOWN = {"model": "digits/77"}
NEEDED: dict[tuple[str, ...], dict[str, str]] = {
    ("judge", "replay"): {"rollout": "run-1"},
    ("models", "show"): {"model": KNOWN["model"]},
    ("models", "pin-case"): {"ids": "digit-1"},
}
"""What a command requires besides, though no single parameter is required."""
VALUES = {"cron": "@daily", "reason": "because", "yes": None}


def walk(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    if hasattr(command, "commands"):
        for name, child in command.commands.items():
            yield from walk(child, (*path, name))
    else:
        yield path, command


COMMANDS = dict(walk(typer.main.get_command(app)))


def kind_of(path: tuple[str, ...], parameter: Any) -> str | None:
    """What the parameter names, None when it names nothing; a task of a run is another thing than a task."""
    is_task_of_run = path[0] == "runs" and parameter.name == "task" and parameter.param_type_name == "argument"
    return "task of run" if is_task_of_run else KINDS.get(parameter.name)


def words_of(path: tuple[str, ...], file: Path, **given: str) -> list[str]:
    """The command with what it requires, and with what is given by the parameter's name."""
    words = list(path)
    for parameter in COMMANDS[path].params:
        value = given.get(parameter.name)
        if value is None and not parameter.required:
            continue
        if value is None:
            value = KNOWN.get(kind_of(path, parameter) or "") or VALUES.get(parameter.name) or str(file)
        words += [value] if parameter.param_type_name == "argument" else [parameter.opts[0], value]
    return words
