"""Commands about trained models: which there are, what one is made of, who was champion when and why."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Any
from uuid import uuid4

import typer

from cli import models_cases
from cli.known_models import KnownModels, OptionalModel, fetch_known, fetch_model
from cli.models_commit import CommitOption, show_models_of
from cli.models_history import TaskAlias, TaskArgument, show_history, task_of
from cli.models_reproduce import reproduce_model
from cli.models_verify import verify_registered
from cli.names import complete_model
from cli.output import JsonFlag, print_json, print_rows, stderr
from cli.person import user_name
from ratchet.core.errors import NotFound
from ratchet.core.models.registered import KnownModel


def add_to(app: typer.Typer) -> None:
    """Add `models list|show|history|reproduce|verify|allow|heal|pin-case|unpin-case|cases`."""
    models_app = typer.Typer(help="Trained models: versions, lineage, history.", no_args_is_help=True)
    models_app.command("list")(list_models)
    models_app.command("show")(show_model)
    models_app.command("history")(show_history)
    models_app.command("reproduce")(reproduce_model)
    models_app.command("verify")(verify_registered)
    models_app.command("allow")(allow_model)
    models_app.command("heal")(heal_registry)
    models_cases.add_to(models_app)
    app.add_typer(models_app, name="models")


def list_models(task: TaskArgument = None, task_option: TaskAlias = None, as_json: JsonFlag = False) -> None:
    """List the models of a task: champion and previous from the ledger, and what is missing in MLflow or the bucket.

    Example: ratchet models list digits
    """
    from ratchet import wiring
    from ratchet.actions.models.files import find_missing

    name = task_of(task, task_option)
    known = fetch_known(name)
    missing = find_missing(wiring.object_store(), [model.uri for model in known.models])
    rows = [_model_row(model, missing.get(model.uri.rstrip("/"), ())) for model in known.models]
    columns = ("version", "aliases", "dataset_version", "accuracy", "registered_at", "refused", "note")
    print_rows(rows, columns=columns, as_json=as_json, empty=f"No model of {name} is registered yet.")
    _tell_differences(known, name)


def show_model(model: OptionalModel = None, commit: CommitOption = None, as_json: JsonFlag = False) -> None:
    """Show one version: its location, lineage, metrics, where its training curves are, and what it was trained on.

    With --commit, show the models of every task that were trained from that git commit.

    Example: ratchet models show digits@champion
    """
    if (model is None) == (commit is None):
        raise typer.BadParameter("name a model, as in `ratchet models show digits/3`, or a commit with --commit")
    if commit is not None:
        show_models_of(commit, as_json=as_json)
        return
    assert model is not None
    _show_one(model, as_json=as_json)


def _show_one(model: str, *, as_json: bool) -> None:
    from ratchet import wiring
    from ratchet.actions.models.files import list_missing
    from ratchet.actions.models.provenance import fetch_environment

    found, known = fetch_model(model)
    missing = list_missing(wiring.object_store(), found.uri)
    environment = fetch_environment(wiring.object_store(), found.uri)
    if as_json:
        of_training = environment.model_dump(mode="json") if environment else None
        print_json(found.model_dump(mode="json") | {"missing_files": missing, "environment": of_training})
        return
    registered_at = found.registered_at.isoformat() if found.registered_at else None
    rows: list[dict[str, Any]] = [
        {"name": "uri", "value": found.uri},
        {"name": "registered_at", "value": registered_at},
        {"name": "role", "value": found.role},
        {"name": "note", "value": _note_of(found, missing)},
        {"name": "curves", "value": _curves_of(found, known.task)},
    ]
    rows += [{"name": name, "value": value} for name, value in sorted(found.tags.items())]
    rows += [{"name": name, "value": f"{value:.6g}"} for name, value in sorted(found.metrics.items())]
    if environment is None:
        rows.append({"name": "trained on", "value": "not recorded: the model is older than this record"})
    else:
        rows += [{"name": f"trained on: {name}", "value": value} for name, value in environment.rows]
    print_rows([row for row in rows if row["value"]], columns=("name", "value"), as_json=False)
    _tell_differences(known, known.task)


def heal_registry(task: TaskArgument = None, task_option: TaskAlias = None, as_json: JsonFlag = False) -> None:
    """Set MLflow's aliases and tags to the ledger's values now, and register champion and previous where they are gone.

    The guard sets aliases and tags within a minute. Example: ratchet models heal digits
    """
    from ratchet import wiring
    from ratchet.actions.models.registry_mirror import align_aliases, restore_versions

    name = task_of(task, task_option)
    restored = restore_versions(wiring.registry(), wiring.ledger(), task=name)
    changes = align_aliases(wiring.registry(), wiring.ledger(), task=name, records=wiring.rollout_records())
    if as_json:
        print_json([change.model_dump() for change in changes])
        return
    for text in (*restored, *(f"{change.text}: set back" for change in changes)):
        stderr.print(f"{name}: {text}", markup=False)
    if not changes and not restored:
        stderr.print(f"{name}: MLflow agrees with the ledger", markup=False)


def allow_model(
    model: Annotated[
        str,
        typer.Argument(
            help="TASK/VERSION of a model that was rolled back, as in digits/3.", autocompletion=complete_model
        ),
    ],
    reason: Annotated[str, typer.Option(help="Why it may be tried again; the ledger records it.")],
    as_json: JsonFlag = False,
) -> None:
    """Take a model off the deny-list: the next rollout of it is judged like any other. The ledger records it.

    Example: ratchet models allow digits/3 --reason "the errors were the new disk's, not the model's"
    """
    from ratchet import wiring
    from ratchet.actions.models.promotions import allow_again

    found, known = fetch_model(model)
    allowed, task = found.as_ref(), known.task
    then = f"ratchet rollout start --task {task} --version {found.name}"
    now, run_id = datetime.now(UTC), f"cli-{uuid4().hex[:12]}"
    is_allowed = allow_again(
        wiring.ledger(), task=task, model=allowed, reason=reason, run_id=run_id, now=now, actor=user_name()
    )
    if not is_allowed:
        raise NotFound(f"{model} is not refused: `ratchet models list {task}` shows which versions are.")
    if as_json:
        print_json({"task": task, "allowed": allowed.model_dump(mode="json"), "reason": reason, "next_step": then})
    else:
        stderr.print(f"{task}: version {found.name} may be rolled out again: `{then}`", markup=False)


def _model_row(model: KnownModel, missing: Sequence[str]) -> dict[str, Any]:
    return {
        "version": model.name,
        "aliases": ", ".join(sorted({*model.aliases, model.role} - {""})),
        "dataset_version": model.dataset_version,
        "accuracy": model.metrics.get("test_accuracy"),
        "registered_at": model.registered_at.isoformat(timespec="seconds") if model.registered_at else None,
        "refused": "rolled back" if model.is_refused else "",
        "note": _note_of(model, missing),
        "in_registry": model.is_registered,
        "missing_files": list(missing),
        "digest": model.digest,
        "uri": model.uri,
    }


def _note_of(model: KnownModel, missing: Sequence[str]) -> str:
    notes = [] if model.is_registered else ["not in MLflow"]
    if model.is_registered and model.ledger_version not in {"", model.version}:
        notes.append(f"version {model.ledger_version} in the ledger")
    if missing:
        notes.append(f"files missing: {', '.join(missing)}")
    return "; ".join(notes)


def _curves_of(model: KnownModel, task: str) -> str:
    """Where the curves of its training are."""
    places = [f"MLflow run {model.tracked_in}, experiment {task}"] if model.tracked_in else []
    if run_id := model.tags.get("run_id"):
        places.append(f"`ratchet runs report {run_id} finetune`")
    return "; ".join(places)


def _tell_differences(known: KnownModels, task: str) -> None:
    for change in known.differences:
        stderr.print(
            f"{change.text}. The ledger is right: `ratchet models heal {task}` corrects MLflow now, the guard within "
            f"a minute",
            markup=False,
        )
