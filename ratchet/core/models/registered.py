"""What the ledger and the registry know of a task's models, in one list. Pure.

The ledger is the truth about who serves; the registry is a mirror that anybody may edit. Models are matched by URI,
which ends in their digest: version numbers begin anew when a registered model is deleted.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime

from pydantic import BaseModel, ConfigDict

from ratchet.core.errors import DataRejected, NotFound
from ratchet.core.models.ledger import LedgerEntry, ModelRef, champion_of, denied_digests_of, previous_of
from ratchet.core.ports import ModelVersion

CHAMPION, PREVIOUS, CHALLENGER = "champion", "previous", "challenger"
STATE_TAG, REASON_TAG = "ratchet.state", "ratchet.reason"
"""What the ledger last said of a version, and why."""
_REASON_CHARS_MAX = 500
"""A page of MLflow shows a tag in one line; the ledger has the whole reason."""
_DIGEST_CHARS_MIN = 8
"""A shorter text is a version number, or too little of a digest."""
_COMMIT_CHARS_MIN = 7
"""What git itself shows of a commit."""


class KnownModel(BaseModel):
    """One model of a task, whoever knows it."""

    model_config = ConfigDict(frozen=True)

    version: str
    """In the registry; where it is not registered the number that the ledger gave it, "" when there is none."""
    ledger_version: str = ""
    """What the ledger calls it; "" when the ledger has never heard of it."""
    digest: str
    uri: str
    dataset_version: str = ""
    role: str = ""
    """champion, previous or "", by the ledger."""
    aliases: tuple[str, ...] = ()
    """Of the registry, without champion and previous."""
    is_refused: bool = False
    is_registered: bool = True
    registered_at: datetime | None = None
    tracked_in: str = ""
    """The registry's run that shows the numbers and curves of its training; "" when it has none."""
    tags: Mapping[str, str] = {}
    metrics: Mapping[str, float] = {}

    @property
    def name(self) -> str:
        """How a command names it: its version, or the beginning of its digest."""
        return self.version or self.digest[:12]

    def as_ref(self) -> ModelRef:
        return ModelRef(version=self.version, digest=self.digest, uri=self.uri, dataset_version=self.dataset_version)


class AliasChange(BaseModel):
    """An alias that the registry must change to agree with the ledger."""

    model_config = ConfigDict(frozen=True)

    alias: str
    found: str
    """Version; "" when it is not set."""
    wanted: str
    """Version; "" when it must go."""
    text: str


class TagChange(BaseModel):
    """Tags that a version must get to say what the ledger says."""

    model_config = ConfigDict(frozen=True)

    version: str
    tags: Mapping[str, str]


def merge_models(
    entries: Sequence[LedgerEntry], versions: Sequence[ModelVersion], aliases: Mapping[str, str]
) -> tuple[KnownModel, ...]:
    """Every model that is registered or in the ledger, once; oldest version first.

    Whatever is missing in the registry costs a row its details, never the row.
    """
    in_ledger = _models_in(entries)
    registered = {_key(version.uri): version for version in reversed(versions)}
    models = [
        _known(in_ledger.get(key), registered.get(key), entries, aliases)
        for key in dict.fromkeys((*in_ledger, *registered))
    ]
    return tuple(sorted(models, key=lambda model: (_number_of(model.version), model.is_registered)))


def find_model(models: Sequence[KnownModel], name: str, *, task: str) -> KnownModel:
    """The model of that version, digest, or beginning of a digest. NotFound, or DataRejected when it names several."""
    found = [model for model in models if name and name in {model.version, model.ledger_version}]
    if not found and len(name) >= _DIGEST_CHARS_MIN:
        found = [model for model in models if model.digest.startswith(name)]
    if len(found) > 1:
        digests = ", ".join(f"{task}/{model.digest[:12]}" for model in found)
        raise DataRejected(
            f"{task} has {len(found)} models with the name {name!r}: MLflow numbers versions from 1 again after a "
            f"registered model is deleted. Name one by its digest: {digests}."
        )
    if not found:
        known = ", ".join(model.name for model in models) or "none"
        raise NotFound(f"{task} has no version {name!r}; known: {known}. `ratchet models list {task}` shows them.")
    return found[0]


def find_of_commit(models: Sequence[KnownModel], commit: str) -> tuple[KnownModel, ...]:
    """The models that were trained from a git commit, or from its files with changes (`<commit>-dirty`).

    DataRejected when the text is too short to mean one commit.
    """
    if len(commit) < _COMMIT_CHARS_MIN:
        raise DataRejected(
            f"{commit!r} is too short for a commit: give {_COMMIT_CHARS_MIN} characters or more, or the name of a tag "
            "or branch of the repository in this folder."
        )
    return tuple(model for model in models if model.tags.get("git_commit", "").startswith(commit.lower()))


def plan_aliases(
    entries: Sequence[LedgerEntry],
    versions: Sequence[ModelVersion],
    aliases: Mapping[str, str],
    *,
    challenger: ModelRef | None = None,
) -> tuple[AliasChange, ...]:
    """What makes the registry's aliases agree with the ledger. A model that is not registered can have no alias.

    challenger: the model of the rollout under way, where one is known.
    """
    version_of = {_key(found.uri): found.version for found in reversed(versions)}
    uri_of = {found.version: _key(found.uri) for found in versions}
    changes = []
    for alias, model in ((CHAMPION, champion_of(entries)), (PREVIOUS, previous_of(entries))):
        found, wanted = aliases.get(alias, ""), version_of.get(_key(model.uri), "") if model else ""
        if found != wanted:
            text = _difference(alias, found=found, wanted=wanted, model=model)
            changes.append(AliasChange(alias=alias, found=found, wanted=wanted, text=text))
    found, wanted = aliases.get(CHALLENGER, ""), version_of.get(_key(challenger.uri), "") if challenger else ""
    if wanted and found != wanted:
        said = f"version {found} is the challenger" if found else "there is no challenger"
        text = f"MLflow says that {said}; version {wanted} is being rolled out"
        changes.append(AliasChange(alias=CHALLENGER, found=found, wanted=wanted, text=text))
    elif found and not wanted and uri_of.get(found) in _decided_uris(entries):
        text = f"MLflow says that version {found} is the challenger; the ledger holds its decision already"
        changes.append(AliasChange(alias=CHALLENGER, found=found, wanted="", text=text))
    return tuple(changes)


def plan_tags(entries: Sequence[LedgerEntry], versions: Sequence[ModelVersion]) -> tuple[TagChange, ...]:
    """What makes each registered version say what the ledger last said of it: promoted, rolled back, withdrawn, allowed
    again, and why. Versions without an entry have no such tags."""
    newest = {_key(entry.model.uri): entry for entry in entries}
    changes = []
    for found in versions:
        entry = newest.get(_key(found.uri))
        if entry is None:
            continue
        tags = {STATE_TAG: entry.kind.replace("_", " "), REASON_TAG: entry.reason[:_REASON_CHARS_MAX]}
        if any(found.tags.get(name) != value for name, value in tags.items()):
            changes.append(TagChange(version=found.version, tags=tags))
    return tuple(changes)


def _models_in(entries: Sequence[LedgerEntry]) -> dict[str, ModelRef]:
    """By URI; the newest mention that knows a version counts."""
    models: dict[str, ModelRef] = {}
    for entry in entries:
        for model in (entry.model, entry.champion):
            if model is not None and (model.version or _key(model.uri) not in models):
                models[_key(model.uri)] = model
    return models


def _known(
    in_ledger: ModelRef | None,
    registered: ModelVersion | None,
    entries: Sequence[LedgerEntry],
    aliases: Mapping[str, str],
) -> KnownModel:
    uri = in_ledger.uri if in_ledger else registered.uri if registered else ""
    digest = in_ledger.digest if in_ledger else _key(uri).rpartition("/")[2]
    own = () if registered is None else tuple(sorted(name for name, at in aliases.items() if at == registered.version))
    tags = registered.tags if registered else {}
    return KnownModel(
        version=registered.version if registered else in_ledger.version if in_ledger else "",
        ledger_version=in_ledger.version if in_ledger else "",
        digest=digest,
        uri=uri,
        dataset_version=(in_ledger.dataset_version if in_ledger else "") or tags.get("dataset_version", ""),
        role=_role_of(uri, entries),
        aliases=tuple(name for name in own if name not in {CHAMPION, PREVIOUS}),
        is_refused=digest in denied_digests_of(entries),
        is_registered=registered is not None,
        registered_at=registered.registered_at if registered else None,
        tracked_in=registered.tracked_in if registered else "",
        tags=tags,
        metrics=registered.metrics if registered else {},
    )


def _role_of(uri: str, entries: Sequence[LedgerEntry]) -> str:
    for role, model in ((CHAMPION, champion_of(entries)), (PREVIOUS, previous_of(entries))):
        if model is not None and _key(model.uri) == _key(uri):
            return role
    return ""


def _decided_uris(entries: Sequence[LedgerEntry]) -> frozenset[str]:
    champion, denied = champion_of(entries), denied_digests_of(entries)
    refused = {_key(entry.model.uri) for entry in entries if entry.model.digest in denied}
    return frozenset(refused | ({_key(champion.uri)} if champion else set()))


def _difference(alias: str, *, found: str, wanted: str, model: ModelRef | None) -> str:
    said = f"MLflow says that {alias} is version {found}" if found else f"MLflow has no {alias}"
    if wanted:
        return f"{said}; the ledger says version {wanted}"
    if model is not None:
        return f"{said}; the ledger says version {model.version or model.digest[:12]}, which is not in MLflow"
    return f"{said}; the ledger has none"


def _key(uri: str) -> str:
    return uri.rstrip("/")


def _number_of(version: str) -> int:
    return int(version) if version.isdecimal() else 0
