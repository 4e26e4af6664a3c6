"""Commands about trained models: which there are, what one is made of, who was champion when and why."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any
from uuid import uuid4

import typer

from ratchet.commands.output import JsonFlag, print_json, print_rows, stderr
from ratchet.core.errors import NotFound
from ratchet.core.ledger import LedgerEntry, ModelRef, champion_of, denied_digests_of
from ratchet.core.ports import ModelVersion

TaskArgument = Annotated[str | None, typer.Argument(help="Name of the task.", show_default=False)]
TaskAlias = Annotated[str | None, typer.Option("--task", "-t", help="The same, as an option.", show_default=False)]


def add_to(app: typer.Typer) -> None:
    """Add `models list|show|history|allow`."""
    models_app = typer.Typer(help="Trained models: versions, lineage, history.", no_args_is_help=True)
    models_app.command("list")(list_models)
    models_app.command("show")(show_model)
    models_app.command("history")(show_history)
    models_app.command("allow")(allow_model)
    app.add_typer(models_app, name="models")


def list_models(task: TaskArgument = None, task_option: TaskAlias = None, as_json: JsonFlag = False) -> None:
    """Every registered version of a task's model, with its aliases.

    Example: ratchet models list digits
    """
    from ratchet import wiring

    name = _task_of(task, task_option)
    registry = wiring.registry()
    aliases = registry.fetch_aliases(name)
    denied = denied_digests_of(wiring.ledger().list_entries(name))
    rows = [_version_row(found, aliases, denied) for found in registry.list_versions(name)]
    columns = ("version", "aliases", "dataset_version", "accuracy", "registered_at", "refused")
    print_rows(rows, columns=columns, as_json=as_json, empty=f"No model of {name} is registered yet.")


def show_model(
    model: Annotated[str, typer.Argument(help="TASK/VERSION or TASK@ALIAS, as in digits/3 or digits@champion.")],
    as_json: JsonFlag = False,
) -> None:
    """One version: where it lies, its lineage and its metrics.

    Example: ratchet models show digits@champion
    """
    from ratchet import wiring

    registry = wiring.registry()
    task, version = _version_of(model, registry.fetch_aliases)
    found = next((each for each in registry.list_versions(task) if each.version == version), None)
    if found is None:
        raise NotFound(f"{task} has no version {version!r}. `ratchet models list {task}` shows what there is.")
    if as_json:
        print_json(found.model_dump(mode="json"))
        return
    rows = [{"name": "uri", "value": found.uri}, {"name": "registered_at", "value": found.registered_at.isoformat()}]
    rows += [{"name": name, "value": value} for name, value in sorted(found.tags.items())]
    rows += [{"name": name, "value": f"{value:.6g}"} for name, value in sorted(found.metrics.items())]
    print_rows(rows, columns=("name", "value"), as_json=False)


def show_history(task: TaskArgument = None, task_option: TaskAlias = None, as_json: JsonFlag = False) -> None:
    """Who was champion when and why, oldest first: the ledger. With --json also digests and run ids.

    Example: ratchet models history digits
    """
    from ratchet import wiring

    name = _task_of(task, task_option)
    entries = wiring.ledger().list_entries(name)
    if as_json:
        print_json([entry.model_dump(mode="json") for entry in entries])
        return
    rows = [_entry_row(entry) for entry in entries]
    columns = ("at", "what", "model", "champion", "why")
    print_rows(rows, columns=columns, as_json=False, empty=f"No model of {name} was deployed yet.")
    champion = champion_of(entries)
    if champion is not None:
        stderr.print(f"champion: version {champion.version}, trained on {champion.dataset_version}", markup=False)


def allow_model(
    model: Annotated[str, typer.Argument(help="TASK/VERSION of a model that was rolled back, as in digits/3.")],
    reason: Annotated[str, typer.Option(help="Why it may be tried again; it goes into the ledger.")],
    as_json: JsonFlag = False,
) -> None:
    """Take a model off the deny-list: the next rollout of it is judged like any other. The ledger keeps who and why.

    Example: ratchet models allow digits/3 --reason "the errors were the new disk's, not the model's"
    """
    from ratchet import wiring
    from ratchet.actions.promotions import allow_again

    registry = wiring.registry()
    task, version = _version_of(model, registry.fetch_aliases)
    found = next((each for each in registry.list_versions(task) if each.version == version), None)
    if found is None:
        raise NotFound(f"{task} has no version {version!r}. `ratchet models list {task}` shows what there is.")
    allowed = ModelRef(
        version=version,
        digest=found.uri.rpartition("/")[2],
        uri=found.uri,
        dataset_version=found.tags.get("dataset_version", ""),
    )
    now, run_id = datetime.now(UTC), f"cli-{uuid4().hex[:12]}"
    if not allow_again(wiring.ledger(), task=task, model=allowed, reason=reason, run_id=run_id, now=now):
        raise NotFound(f"{model} is not refused: `ratchet models list {task}` shows which versions are.")
    if as_json:
        print_json({"task": task, "allowed": allowed.model_dump(mode="json"), "reason": reason})
    else:
        stderr.print(f"{task}: version {version} may be rolled out again", markup=False)


def _task_of(argument: str | None, option: str | None) -> str:
    if argument and option and argument != option:
        raise typer.BadParameter(f"two tasks were named: {argument!r} and {option!r}")
    name = argument or option
    if not name:
        raise typer.BadParameter("name a task, as in `ratchet models history digits`")
    return name


def _version_of(model: str, fetch_aliases: Any) -> tuple[str, str]:
    """Task and version of `task/3` or `task@alias`."""
    task, separator, version = model.partition("/")
    if separator and task and version:
        return task, version
    task, separator, alias = model.partition("@")
    if not (separator and task and alias):
        raise typer.BadParameter(f"{model!r} is neither TASK/VERSION nor TASK@ALIAS, as in digits/3 or digits@champion")
    aliases: Mapping[str, str] = fetch_aliases(task)
    if alias not in aliases:
        raise NotFound(f"{task} has no alias {alias!r}; set are: {', '.join(sorted(aliases)) or 'none'}.")
    return task, aliases[alias]


def _version_row(found: ModelVersion, aliases: Mapping[str, str], denied: frozenset[str]) -> dict[str, Any]:
    own = sorted(alias for alias, version in aliases.items() if version == found.version)
    return {
        "version": found.version,
        "aliases": ", ".join(own),
        "dataset_version": found.tags.get("dataset_version", ""),
        "accuracy": found.metrics.get("test_accuracy"),
        "registered_at": found.registered_at.isoformat(timespec="seconds"),
        "refused": "rolled back" if found.uri.rpartition("/")[2] in denied else "",
        "uri": found.uri,
    }


def _entry_row(entry: LedgerEntry) -> dict[str, str]:
    return {
        "at": entry.at.isoformat(timespec="seconds"),
        "what": entry.kind.replace("_", " "),
        "model": entry.model.version or entry.model.digest[:12],
        "champion": entry.champion.version if entry.champion else "none",
        "why": entry.reason,
    }
