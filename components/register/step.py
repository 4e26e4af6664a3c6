"""Put a challenger that passed the gate into the registry, with all that tells where it came from."""

import json
import logging
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from components.register.card import CardFacts, render_model_card
from ratchet.actions.models.files import ModelFiles, trouble_of
from ratchet.actions.models.history import read_history
from ratchet.core.digest import digest_of_bytes
from ratchet.core.errors import Conflict, DataRejected, NotFound
from ratchet.core.labels.dataset import Manifest
from ratchet.core.models.ledger import ModelRef
from ratchet.core.models.registered import CHALLENGER
from ratchet.core.models.statements import VERDICT, ModelOrigin, manifest_digest, provenance_statement
from ratchet.core.models.training_history import EpochMetrics
from ratchet.core.ports import Registry, Signer
from ratchet.core.verdict import Verdict
from ratchet.stores.models import ModelFolders
from ratchet.tasks.identity import read_model
from ratchet.tasks.signature import SIGNATURE, sign_folder
from ratchet.tasks.spec import TaskSpec

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Lineage:
    """What started this training; becomes tags of the model version."""

    dataset_version: str
    run_id: str
    run_key: str
    policy_digest: str
    git_commit: str
    image: str

    def as_tags(self) -> dict[str, str]:
        return {
            "dataset_version": self.dataset_version,
            "run_id": self.run_id,
            "run_key": self.run_key,
            "policy_digest": self.policy_digest,
            "git_commit": self.git_commit,
            "image": self.image,
        }


@dataclass(frozen=True)
class Signing:
    """What signing takes: who signs, what was trained on, and who reads back what was signed."""

    signer: Signer | None
    manifest: Manifest
    files: ModelFiles


def register_step(
    spec: TaskSpec,
    model_path: Path,
    *,
    verdict: Verdict,
    metrics: Mapping[str, float],
    lineage: Lineage,
    models: ModelFolders,
    registry: Registry,
    signing: Signing | None = None,
) -> tuple[str, str, str]:
    """Sign, upload, register, alias `challenger`; gives version, uri and digest. The same model again changes nothing.

    Order: files, then the registry's version, then the alias: what a kill leaves behind is unreferenced files or a
    version without an alias, and the next start of this step goes on from there. A signed model that is whole stays as
    it is, with the verdict that it was signed with: it may serve. DataRejected when the files are not the model that
    was judged, or when what was stored is not what was signed.
    """
    digest = read_model(model_path).digest
    judged = verdict.inputs.get("challenger", digest)
    if digest != judged:
        raise DataRejected(
            f"{model_path} holds model {digest[:12]}, and the verdict is about {judged[:12]}: it changed after it was "
            "evaluated. Start the run again."
        )
    trained = json.loads((model_path / "lineage.json").read_text())
    tags = {**trained, **lineage.as_tags(), "digest": digest}
    uri = models.uri_of(spec.name, digest)
    stored = ModelRef(version="", digest=digest, uri=uri, dataset_version=lineage.dataset_version)
    if not _is_signed(stored, models, signing):
        with tempfile.TemporaryDirectory() as scratch_name:
            folder = Path(scratch_name) / "model"
            shutil.copytree(model_path, folder)
            (folder / VERDICT).write_text(verdict.model_dump_json(indent=2) + "\n")
            (folder / "MODEL_CARD.md").write_text(_card(spec, verdict, metrics, tags, signing))
            _sign(folder, tags, signing, task=spec.name)
            models.put(folder, task=spec.name, digest=digest)
        if trouble := trouble_of(signing.files if signing else None, stored):
            raise DataRejected(f"What was stored of model {digest[:12]} is not what was signed: {trouble}.")
    history = read_history(model_path)
    return _tell_registry(registry, spec.name, uri, tags=tags, metrics=metrics, history=history), uri, digest


def _card(
    spec: TaskSpec, verdict: Verdict, metrics: Mapping[str, float], tags: Mapping[str, str], signing: Signing | None
) -> str:
    manifest = signing.manifest if signing else None
    is_signed = signing is not None and signing.signer is not None
    return render_model_card(spec, CardFacts(verdict, metrics, tags, manifest, is_signed))


def _is_signed(stored: ModelRef, models: ModelFolders, signing: Signing | None) -> bool:
    """Whether this very model lies there already, signed and whole."""
    if signing is None or not models.objects.exists(f"{stored.uri}/{SIGNATURE}"):
        return False
    return not signing.files.find_trouble(stored)


def _sign(folder: Path, tags: Mapping[str, str], signing: Signing | None, *, task: str) -> None:
    """Nothing where nobody signs."""
    if signing is None or signing.signer is None:
        return
    manifest, digest = signing.manifest, tags["digest"]
    origin = ModelOrigin(
        task=task,
        model_digest=digest,
        dataset_version=manifest.version,
        manifest_digest=manifest_digest(manifest),
        num_erased=manifest.erased,
        shards={file.path: file.sha256 for file in manifest.files},
        run_id=tags["run_id"],
        run_key=tags["run_key"],
        policy_digest=tags["policy_digest"],
        git_commit=tags["git_commit"],
        image=tags["image"],
        base_model_digest=tags.get("base_model_digest", ""),
        verdict_digest=digest_of_bytes((folder / VERDICT).read_bytes()),
    )
    sign_folder(folder, signing.signer, name=f"{task}-{digest[:12]}", provenance=provenance_statement(origin))


def _tell_registry(
    registry: Registry,
    task: str,
    uri: str,
    *,
    tags: Mapping[str, str],
    metrics: Mapping[str, float],
    history: Sequence[EpochMetrics],
) -> str:
    """The version, "" when MLflow refuses it: the files are stored, and their digest names the model as well.

    A server that is away is another thing: Unavailable, and the step is tried again.
    """
    version = ""
    try:
        version = registry.register(task, uri, tags=tags, metrics=metrics, history=history)
        registry.set_alias(task, CHALLENGER, version)
    except (Conflict, DataRejected, NotFound) as error:
        log.warning("%s: MLflow does not show %s as it should, the rollout goes on: %s", task, uri, error)
    return version
