"""Where a registered model came from: its files, its lineage, and whether all that this names is still there."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ratchet.actions.labels.left_out import NONE_LEFT_OUT, LeftOutRows, read_left_out
from ratchet.actions.labels.replay import old_version_of
from ratchet.actions.models.files import list_missing
from ratchet.actions.models.training import LINEAGE_FILE
from ratchet.core.errors import DataRejected, NotFound, SettingsError
from ratchet.core.labels.dataset import Manifest, training_digest_of
from ratchet.core.models.environment import ENVIRONMENT_FILE, TrainingEnvironment, environment_of
from ratchet.core.models.ledger import ModelRef
from ratchet.core.models.registered import KnownModel
from ratchet.core.models.reproduction import why_other_rows
from ratchet.core.ports import DatasetStore, ObjectStore
from ratchet.tasks.identity import ModelFolder, read_model
from ratchet.tasks.spec import TaskSpec

_RESTORE = "Restore it from a backup"


@dataclass(frozen=True)
class Provenance:
    """Where a registered model came from, all of it found."""

    folder: ModelFolder
    spec: TaskSpec
    manifest: Manifest
    base: ModelRef | None
    before: Manifest | None
    why_all: str
    """Both as of `TrainingInputs`."""
    environment: TrainingEnvironment
    is_environment_recorded: bool
    num_erased: int
    notes: tuple[str, ...]
    left_out: LeftOutRows = NONE_LEFT_OUT
    """Rows of pinned cases that the training did not see."""


def find_provenance(
    model: KnownModel,
    known: Sequence[KnownModel],
    *,
    task: str,
    datasets: DatasetStore,
    objects: ObjectStore,
    path: Path,
    is_anyway: bool,
) -> Provenance:
    """Fetch the model into `path`, and find what its lineage names. known: all models of the task.

    NotFound or DataRejected name what is gone. is_anyway: a dataset version that has changed is none of that.
    """
    name = f"{task}/{model.name}"
    try:
        objects.fetch_directory(model.uri, path)
    except NotFound as error:
        raise NotFound(f"The files of {name} are gone: {error} {_RESTORE} of the models' bucket.") from None
    folder = read_model(path, expected_digest=model.digest)
    lineage = _lineage_of(path, model.tags)
    version = lineage.get("dataset_version", "")
    if not version:
        raise DataRejected(f"{name} has no lineage: no {LINEAGE_FILE} lies in {model.uri}. Only `finetune` writes one.")
    manifest, spec = _fetch_manifest(version, name, datasets), _spec_of(folder, name)
    base = _find_base(name, lineage, model, known, objects)
    before, why_all = old_version_of(spec, manifest, base, datasets)
    noted_erased = lineage.get("dataset_erased", "")
    num_erased = manifest.erased - int(noted_erased) if noted_erased.isdecimal() else 0
    why = why_other_rows(
        version=version,
        noted_digest=lineage.get("dataset_digest", ""),
        digest=training_digest_of(manifest, before),
        num_erased=num_erased,
    )
    if why and not is_anyway:
        raise NotFound(
            f"{name} cannot be reproduced: {why}, so its training rows are not what they were. `--anyway` trains on "
            "what is left and shows how much differs."
        )
    environment = _environment_in(path)
    notes = [f"dataset: {why}"] if why and not num_erased else []
    if "dataset_digest" not in lineage and manifest.erased:
        notes.append(
            f"dataset: {manifest.erased} rows of {version} were erased, before or after this training: not recorded"
        )
    if not folder.code and not folder.library:
        notes.append("code: this model carries none, so the installed implementation trained")
    return Provenance(
        folder=folder,
        spec=spec,
        manifest=manifest,
        base=base,
        before=before,
        why_all=why_all,
        environment=environment or TrainingEnvironment.of_lineage(lineage),
        is_environment_recorded=environment is not None,
        num_erased=num_erased,
        notes=tuple(notes),
        left_out=read_left_out(path),
    )


def fetch_environment(objects: ObjectStore, uri: str) -> TrainingEnvironment | None:
    """What a registered model was trained on, without its other files; None where it is not recorded."""
    if not uri.startswith("s3://"):  # anybody may register anything in MLflow
        return None
    try:
        return environment_of(objects.fetch(f"{uri.rstrip('/')}/{ENVIRONMENT_FILE}"))
    except (NotFound, SettingsError):
        return None


def _lineage_of(path: Path, tags: Mapping[str, str]) -> Mapping[str, str]:
    """The model's own, beside its digest; the registry's tags where it has none."""
    try:
        noted = json.loads((path / LINEAGE_FILE).read_bytes())
    except (FileNotFoundError, ValueError):
        return tags
    return {**tags, **{name: str(value) for name, value in noted.items()}} if isinstance(noted, dict) else tags


def _environment_in(path: Path) -> TrainingEnvironment | None:
    try:
        return environment_of((path / ENVIRONMENT_FILE).read_bytes())
    except FileNotFoundError:
        return None


def _fetch_manifest(version: str, name: str, datasets: DatasetStore) -> Manifest:
    try:
        return datasets.fetch_manifest(version)
    except NotFound as error:
        raise NotFound(
            f"The dataset version {version}, which {name} was trained on, is gone: {error} {_RESTORE} of the dataset "
            "repository."
        ) from None


def _spec_of(folder: ModelFolder, name: str) -> TaskSpec:
    try:
        return TaskSpec.model_validate_json(folder.task_json)
    except ValueError as error:
        raise DataRejected(f"The task.json of {name} cannot be read by this version of Ratchet: {error}") from None


def _find_base(
    name: str, lineage: Mapping[str, str], model: KnownModel, known: Sequence[KnownModel], objects: ObjectStore
) -> ModelRef | None:
    digest, version = lineage.get("base_model_digest", ""), lineage.get("base_model_version", "")
    if not digest:
        return None
    found = next((each for each in known if each.digest == digest), None)
    uri = found.uri if found else f"{model.uri.rpartition('/')[0]}/{digest}"
    dataset_version = lineage.get("base_dataset_version") or (found.dataset_version if found else "")
    if missing := list_missing(objects, uri):
        raise NotFound(
            f"The base model of {name}, version {version or digest[:12]}, is gone: {', '.join(missing)} missing "
            f"in {uri}. {_RESTORE} of the models' bucket."
        )
    return ModelRef(version=version, digest=digest, uri=uri, dataset_version=dataset_version)
