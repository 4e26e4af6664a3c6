"""`ratchet models verify`: is a model what was signed, from the labels to its promotion?"""

import tempfile
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from cli.known_models import fetch_model
from cli.names import complete_model
from cli.output import JsonFlag, print_json, print_rows, stderr
from ratchet.core.errors import DataRejected, NotFound
from ratchet.core.models.registered import KnownModel, find_model, merge_models

VerifiedModel = Annotated[
    str,
    typer.Argument(
        help="TASK for its champion, TASK/VERSION or TASK@ALIAS, as in digits, digits/3, digits@previous.",
        autocompletion=complete_model,
    ),
]
DataFlag = Annotated[bool, typer.Option("--data", help="Read every file of the dataset version too.")]
_COLOURS = {"ok": "green", "not signed": "yellow", "refused": "bold red"}


def verify_registered(model: VerifiedModel, data: DataFlag = False, as_json: JsonFlag = False) -> None:
    """Check the signatures from shards to promotion, link by link, and name the link that differs.

    Exit code 3 when a link is refused. Example: ratchet models verify digits/3
    """
    from ratchet import wiring
    from ratchet.actions.models.verifying import is_refused, verify_model

    found, task = _find(model)
    ports = wiring.verify_ports()
    with tempfile.TemporaryDirectory() as scratch:
        links = verify_model(found, ports, task=task, path=Path(scratch) / "model", is_with_data=data)
    is_required = wiring.settings().unsigned_models == "refuse"
    refused = is_refused(links, is_signature_required=is_required)
    if as_json:
        print_json(
            {
                "task": task,
                "version": found.name,
                "digest": found.digest,
                "is_fine": not refused,
                "links": [link.model_dump() for link in links],
            }
        )
    else:
        rows = [
            {"link": each.link, "state": Text(each.state, style=_COLOURS[each.state]), "found": each.text}
            for each in links
        ]
        print_rows(rows, columns=("link", "state", "found"), as_json=False)
        is_signed = all(link.state == "ok" for link in links)
        told = "refused" if refused else "every link holds" if is_signed else "holds as far as it is signed"
        stderr.print(f"{task}/{found.name}: {told}", markup=False)
    if refused:
        raise typer.Exit(DataRejected.exit_code)


def _find(name: str) -> tuple[KnownModel, str]:
    """By the ledger alone where it knows the model: asking MLflow takes a second and more."""
    from ratchet import wiring

    task, slash, version = name.partition("/")
    if "@" in name:
        task, slash, version = name.partition("@")
        version = f"@{version}"
    models = merge_models(wiring.ledger().list_entries(task), (), {})
    role = "champion" if not slash else version.removeprefix("@") if version.startswith("@") else ""
    of_role = [model for model in models if role and model.role == role]
    if of_role:
        return of_role[0], task
    if not slash:
        raise NotFound(f"{task} has no champion. `ratchet models list {task}` shows its models.")
    if not version.startswith("@"):
        try:
            return find_model(models, version, task=task), task
        except NotFound:
            pass
    found, known = fetch_model(name)
    return found, known.task
