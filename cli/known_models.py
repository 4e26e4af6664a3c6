"""The models that a command names: what the ledger and the registry know of a task's models."""

from typing import Annotated, NamedTuple

import typer

from cli.names import complete_model
from ratchet.core.errors import NotFound
from ratchet.core.models.registered import AliasChange, KnownModel, find_model, merge_models, plan_aliases

ModelArgument = Annotated[
    str,
    typer.Argument(
        help="TASK/VERSION or TASK@ALIAS, as in digits/3 or digits@champion.", autocompletion=complete_model
    ),
]
OptionalModel = Annotated[
    str | None,
    typer.Argument(
        help="TASK/VERSION or TASK@ALIAS, as in digits/3 or digits@champion.",
        show_default=False,
        autocompletion=complete_model,
    ),
]


class KnownModels(NamedTuple):
    task: str
    models: tuple[KnownModel, ...]
    differences: tuple[AliasChange, ...]


def fetch_known(task: str) -> KnownModels:
    from ratchet import wiring

    registry = wiring.registry()
    aliases, versions = registry.fetch_aliases(task), registry.list_versions(task)
    entries = wiring.ledger().list_entries(task)
    return KnownModels(task, merge_models(entries, versions, aliases), plan_aliases(entries, versions, aliases))


def fetch_model(name: str) -> tuple[KnownModel, KnownModels]:
    """The model of `task/3`, `task/<digest>` or `task@alias`; champion and previous are the ledger's."""
    task, separator, version = name.partition("/")
    if separator and task and version:
        known = fetch_known(task)
        return find_model(known.models, version, task=task), known
    task, separator, alias = name.partition("@")
    if not (separator and task and alias):
        raise typer.BadParameter(f"{name!r} is neither TASK/VERSION nor TASK@ALIAS, as in digits/3 or digits@champion")
    known = fetch_known(task)
    names_of = {model.uri: {*model.aliases, model.role} - {""} for model in known.models}
    for model in known.models:
        if alias in names_of[model.uri]:
            return model, known
    given = sorted(set().union(*names_of.values()))
    raise NotFound(f"{task} has no alias {alias!r}; its aliases: {', '.join(given) or 'none'}.")
