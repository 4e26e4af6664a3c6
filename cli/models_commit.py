"""`ratchet models show --commit`: from a git commit to the models that were trained from it."""

from pathlib import Path
from typing import Annotated, Any

import typer

from cli.known_models import fetch_known
from cli.output import print_rows
from ratchet.core.errors import NotFound
from ratchet.core.models.registered import KnownModel, find_of_commit

CommitOption = Annotated[
    str | None,
    typer.Option(
        "--commit",
        help="A git commit (7 characters or more), or a tag or branch of the repository in this folder.",
        show_default=False,
    ),
]


def show_models_of(revision: str, *, as_json: bool) -> None:
    """Print the models of every task that were trained from this commit; NotFound when no model was."""
    from embedded.repositories import resolve_commit
    from ratchet import wiring

    commit = resolve_commit(Path.cwd(), revision) or revision
    found = [
        (task, model) for task in wiring.task_names() for model in find_of_commit(fetch_known(task).models, commit)
    ]
    if not found:
        raise NotFound(
            f"No registered model was trained from commit {commit}. `ratchet models show TASK/VERSION` shows the "
            "commit of a model."
        )
    rows = [_row(task, model) for task, model in found]
    columns = ("task", "version", "role", "git_commit", "dataset_version", "registered_at")
    print_rows(rows, columns=columns, as_json=as_json)


def _row(task: str, model: KnownModel) -> dict[str, Any]:
    return {
        "task": task,
        "version": model.name,
        "role": model.role,
        "git_commit": model.tags.get("git_commit", ""),
        "dataset_version": model.dataset_version,
        "registered_at": model.registered_at.isoformat(timespec="seconds") if model.registered_at else None,
        "digest": model.digest,
    }
