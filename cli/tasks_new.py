"""`ratchet tasks new`: a task file proposed from a sample of label lines."""

from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
import yaml
from pydantic import ValidationError

from cli.extras import is_installed
from cli.output import JsonFlag, print_json, stderr, stdout
from ratchet.core.errors import Conflict, DataRejected

if TYPE_CHECKING:
    from ratchet.core.labels.proposal import Proposal

_LINES_MAX = 10_000
_NEXT_STEP = "Give the lines of one task, as `ratchet labels push` takes them."


def add_to(tasks: typer.Typer) -> None:
    """Add the command to its group."""
    tasks.command("new")(new)


def new(
    name: Annotated[str, typer.Argument(help="Of the task: small letters, digits and hyphens, as in late-flights.")],
    from_file: Annotated[
        Path, typer.Option("--from", help="Label lines (JSONL); the first 10,000 are looked at.", dir_okay=False)
    ],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the file; write nothing.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Propose configs/tasks/NAME.yaml from a sample of labels, and say what is assumed. Read it before you use it.

    Examples:

    ratchet tasks new late-flights --from labels.jsonl --dry-run

    ratchet tasks new late-flights --from labels.jsonl
    """
    from ratchet import wiring
    from ratchet.core.labels.proposal import propose_task
    from ratchet.packaged import packaged_configs
    from ratchet.tasks.spec import TaskSpec
    from wire.validation_text import validation_text

    has_text_encoder = is_installed("text")
    proposal = propose_task(name, _rows_of(from_file), where=str(from_file), has_text_encoder=has_text_encoder)
    try:
        TaskSpec.model_validate(proposal.task)
    except ValidationError as error:
        raise DataRejected(f"{from_file}: no task file can be made of it: {validation_text(error)}.") from None
    configs = wiring.settings().configs_dir
    own = Path("configs") if configs == packaged_configs() else configs  # never into the installed package
    path = own / "tasks" / f"{name}.yaml"
    text = render_task(proposal, source=str(from_file))
    if as_json:
        print_json({"task": proposal.task, "assumptions": proposal.assumptions, "path": str(path)})
    elif dry_run:
        stdout.print(text, markup=False, highlight=False, end="")
    if dry_run:
        return
    _write_new(path, text)
    stderr.print(f"{path} is written. Read its comments, then `ratchet tasks check {name}` tries it.", markup=False)


def render_task(proposal: "Proposal", *, source: str) -> str:
    """The file, each assumption a comment beside what it is about."""
    task, why = proposal.task, proposal.assumptions
    lines = [f"# Proposed from {source}: check each line.", f"name: {task['name']}", "inputs:"]
    lines += [f"  - {_flow(each)}  # {why[each['name']]}" for each in task["inputs"]]
    lines += [f"{field}: {_flow(task[field])}  # {why[field]}" for field in ("output", "model")]
    return "\n".join(lines) + "\n"


def _flow(value: Mapping[str, Any]) -> str:
    # YAML folds at 80 columns; here an entry and its comment are one line.
    return str(
        yaml.safe_dump(dict(value), default_flow_style=True, sort_keys=False, width=10**6, allow_unicode=True)
    ).strip()


def _rows_of(path: Path) -> Sequence[Mapping[str, Any]]:
    from ratchet.core.lines import read_objects

    try:
        with path.open("rb") as file:  # a line ends with \n and nothing else, as in `split_lines`
            found = read_objects((line.removesuffix(b"\n") for line in file), where=str(path), next_step=_NEXT_STEP)
            return [value for _, value in islice(found, _LINES_MAX)]
    except OSError as error:
        raise DataRejected(f"{path}: {error.strerror}. Name a readable JSONL file of labels.") from None


def _write_new(path: Path, text: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise Conflict(f"{path} is there already. Give the task another name, or remove the file first.") from None
