"""Whether a model is what was signed: shards, dataset version, run, model, verdict, promotion, link by link."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

from ratchet.core.digest import canonical_json, digest_of_bytes
from ratchet.core.errors import DataRejected, NotFound, SettingsError
from ratchet.core.labels.dataset import Manifest, erased_text
from ratchet.core.models.envelope import read_statement
from ratchet.core.models.ledger import LedgerEntry, find_break
from ratchet.core.models.registered import KnownModel
from ratchet.core.models.statements import VERDICT, ModelOrigin, entry_statement, manifest_digest, origin_in
from ratchet.core.ports import DatasetStore, Ledger, ObjectStore, TrustedKeys
from ratchet.core.verdict import Verdict
from ratchet.stores.decisions import Decisions
from ratchet.tasks.identity import read_model
from ratchet.tasks.signature import PROVENANCE, check_folder, folder_digests, read_bundle

LinkName = Literal["shards", "dataset version", "run", "model", "verdict", "promotion"]
LinkState = Literal["ok", "not signed", "refused"]


class ChainLink(BaseModel):
    """One link of the chain from labels to a promotion."""

    model_config = ConfigDict(frozen=True)

    link: LinkName
    state: LinkState
    text: str
    """What was compared, or what differs."""


@dataclass(frozen=True)
class VerifyPorts:
    """What the links are read from."""

    objects: ObjectStore
    datasets: Callable[[], DatasetStore]
    ledger: Ledger
    decisions: Decisions
    keys: TrustedKeys


def verify_model(
    model: KnownModel, ports: VerifyPorts, *, task: str, path: Path, is_with_data: bool = False
) -> tuple[ChainLink, ...]:
    """Every link, from labels to promotion. path: an empty folder for the model's files.

    is_with_data: read every file of the dataset version too; without it their noted digests are compared.
    """
    of_model, origin = _verify_folder(model, ports, task=task, path=path)
    if isinstance(origin, ChainLink):
        of_origin: Iterator[ChainLink] = (_same(origin, link) for link in _BEFORE_MODEL)
        of_verdict = _same(origin, "verdict")
    else:
        of_origin = _verify_origin(origin, ports, is_with_data=is_with_data)
        of_verdict = _verify_verdict(origin, path)
    return (*of_origin, of_model, of_verdict, _verify_promotion(model, ports, task=task))


_BEFORE_MODEL: tuple[LinkName, ...] = ("shards", "dataset version", "run")


def _verify_folder(
    model: KnownModel, ports: VerifyPorts, *, task: str, path: Path
) -> tuple[ChainLink, ModelOrigin | ChainLink]:
    """The model itself, and where it says that it came from; a link in its place tells why it does not say so."""
    try:
        ports.objects.fetch_directory(model.uri, path)
        read_model(path, expected_digest=model.digest)
        unsigned = check_folder(path, ports.keys)
    except (DataRejected, NotFound, SettingsError) as error:
        refused = _link("model", "refused", _in_place(error, path, model.uri))
        return refused, _origin_or_link(model, ports, task=task, path=path)
    if unsigned:
        text = f"{model.uri} has the digest {model.digest[:12]}, and no signature"
        return _link("model", "not signed", text), _link("run", "not signed", "the model is not signed")
    text = f"{len(folder_digests(path))} files as signed, digest {model.digest[:12]}"
    return _link("model", "ok", text), _origin_or_link(model, ports, task=task, path=path)


def _origin_or_link(model: KnownModel, ports: VerifyPorts, *, task: str, path: Path) -> ModelOrigin | ChainLink:
    if not (path / PROVENANCE).is_file():
        return _link("run", "refused", f"{model.uri} has no {PROVENANCE}")
    try:
        origin = origin_in(read_bundle(path / PROVENANCE, ports.keys), where=f"{model.uri}/{PROVENANCE}")
    except DataRejected as error:
        return _link("run", "refused", _in_place(error, path, model.uri))
    if (origin.task, origin.model_digest) != (task, model.digest):
        text = f"the signed provenance is of {origin.task}/{origin.model_digest[:12]}, not of this model"
        return _link("run", "refused", text)
    return origin


def _verify_origin(origin: ModelOrigin, ports: VerifyPorts, *, is_with_data: bool) -> Iterator[ChainLink]:
    datasets = ports.datasets()
    try:
        manifest = datasets.fetch_manifest(origin.dataset_version)
    except (NotFound, DataRejected) as error:
        yield _link("shards", "refused", f"{origin.dataset_version} cannot be read, so its shards are not known")
        yield _link("dataset version", "refused", str(error))
    else:
        erased = manifest.erased - origin.num_erased
        since = f"; {erased_text(erased, origin.dataset_version)}" if erased > 0 else ""
        yield _verify_shards(origin, manifest, datasets if is_with_data else None, since=since)
        if since or manifest_digest(manifest) == origin.manifest_digest:
            yield _link("dataset version", "ok", f"{origin.dataset_version}, {manifest.num_labels} labels{since}")
        else:
            text = f"the manifest of {origin.dataset_version} has changed since the model was signed"
            yield _link("dataset version", "refused", text)
    commit = f", commit {origin.git_commit[:12]}" if origin.git_commit else ""
    yield _link("run", "ok", f"run {origin.run_id}, key {origin.run_key[:12]}{commit}")


def _verify_shards(origin: ModelOrigin, manifest: Manifest, datasets: DatasetStore | None, *, since: str) -> ChainLink:
    """An erasure writes the files that it takes rows out of anew: then only what lies there is compared with itself."""
    found = {file.path: file.sha256 for file in manifest.files}
    changed = sorted(path for path in {*found, *origin.shards} if found.get(path) != origin.shards.get(path))
    if changed and not since:
        return _link("shards", "refused", f"{', '.join(changed[:3])}: not the files that were signed")
    if datasets is None:
        return _link("shards", "ok", f"{len(found)} files have the signed digests; --data reads them{since}")
    for file in manifest.files:
        try:
            datasets.fetch_shard(file)
        except (NotFound, DataRejected) as error:
            return _link("shards", "refused", f"{file.path}: {error}")
    return _link("shards", "ok", f"{len(found)} files were read and have the signed digests{since}")


def _verify_verdict(origin: ModelOrigin, path: Path) -> ChainLink:
    try:
        data = (path / VERDICT).read_bytes()
    except FileNotFoundError:
        return _link("verdict", "refused", f"{VERDICT} is missing")
    if digest_of_bytes(data) != origin.verdict_digest:
        return _link("verdict", "refused", f"{VERDICT} is not the verdict that was signed")
    verdict = Verdict.model_validate_json(data)
    judged = verdict.inputs.get("challenger", origin.model_digest)
    if judged != origin.model_digest:
        return _link("verdict", "refused", f"{VERDICT} is about model {str(judged)[:12]}")
    num_held = sum(reason.passed for reason in verdict.reasons)
    return _link("verdict", "ok", f"{verdict.verdict}, {num_held} of {len(verdict.reasons)} checks held")


def _verify_promotion(model: KnownModel, ports: VerifyPorts, *, task: str) -> ChainLink:
    """The whole ledger of the task, and what it says of this model."""
    try:
        entries = ports.ledger.list_entries(task)
    except DataRejected as error:
        return _link("promotion", "refused", str(error))
    trouble = find_break(entries) or next(filter(None, (_entry_trouble(entry, ports) for entry in entries)), "")
    if trouble:
        return _link("promotion", "refused", trouble)
    own = [entry for entry in entries if entry.model.digest == model.digest]
    if not own:
        return _link("promotion", "ok", "the ledger has no entry of it: never promoted, never refused")
    text = "; ".join(f"entry {entry.seq}: {entry.kind.replace('_', ' ')}" for entry in own[-3:])
    unsigned = [str(entry.seq) for entry in own if entry.attestation is None]
    if unsigned:
        return _link("promotion", "not signed", f"{text}; not signed: {', '.join(unsigned)}")
    return _link("promotion", "ok", text)


def _entry_trouble(entry: LedgerEntry, ports: VerifyPorts) -> str:
    """What is wrong with a signed entry, or with the verdict that it names."""
    name = f"ledger entry {entry.seq}"
    if entry.attestation is not None:
        try:
            signed = read_statement(entry.attestation, ports.keys, where=name)
        except DataRejected as error:
            return str(error)
        if canonical_json(signed) != canonical_json(entry_statement(entry)):
            return f"{name} says another thing than its signature"
    if entry.verdict_digest:
        with suppress(NotFound):  # its record's time is over (configs/policies/retention.yaml)
            uri = ports.decisions.uri_of(entry.task, entry.run_id, entry.verdict_digest)
            if digest_of_bytes(ports.objects.fetch(uri)) != entry.verdict_digest:
                return f"{name}: the verdict in {uri} has changed"
    return ""


def is_refused(links: Sequence[ChainLink], *, is_signature_required: bool) -> bool:
    """Whether the chain as a whole is refused."""
    bad = {"refused", "not signed"} if is_signature_required else {"refused"}
    return any(link.state in bad for link in links)


def _in_place(error: Exception, path: Path, uri: str) -> str:
    return str(error).replace(str(path), uri)


def _same(found: ChainLink, link: LinkName) -> ChainLink:
    return found.model_copy(update={"link": link})


def _link(link: LinkName, state: LinkState, text: str) -> ChainLink:
    return ChainLink(link=link, state=state, text=text)
