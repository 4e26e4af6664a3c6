"""What is stated about a model and signed: its files, where it came from, who made it champion. Pure.

- the files: `https://model_signing/signature/v1.0`, which OpenSSF's `model_signing verify key` reads;
- where it came from: SLSA provenance v1 (https://slsa.dev/spec/v1.0/provenance), from shards to verdict;
- an entry of the ledger: a type of our own.
"""

import hashlib
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict

from ratchet.core.digest import digest_of
from ratchet.core.errors import DataRejected
from ratchet.core.labels.dataset import Manifest
from ratchet.core.models.envelope import STATEMENT_TYPE, Statement
from ratchet.core.models.ledger import LedgerEntry, entry_digest

FILES_TYPE = "https://model_signing/signature/v1.0"
PROVENANCE_TYPE = "https://slsa.dev/provenance/v1"
ENTRY_TYPE = "urn:ratchet:ledger-entry:v1"
_BUILD_TYPE = "urn:ratchet:retrain:v1"
VERDICT = "verdict.json"


class ModelOrigin(BaseModel):
    """Where a model came from: one link of its chain a field."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    task: str
    model_digest: str
    dataset_version: str
    manifest_digest: str
    """`manifest_digest` of the dataset version."""
    num_erased: int
    """Rows that had been erased from the version by then."""
    shards: Mapping[str, str]
    """SHA-256 of each file of the version, by its path."""
    run_id: str
    run_key: str
    policy_digest: str
    git_commit: str
    image: str
    base_model_digest: str
    verdict_digest: str
    """SHA-256 of the gate's verdict, the file `verdict.json`."""


def manifest_digest(manifest: Manifest) -> str:
    """What a dataset version's manifest says, whatever fields a later version of Ratchet adds."""
    return digest_of(manifest.model_dump(mode="json", exclude_defaults=True))


def files_statement(name: str, sha256_by_name: Mapping[str, str], *, ignored: str) -> Statement:
    """The files of a folder but for `ignored`, which is the signature's own."""
    resources = [
        {"name": file, "algorithm": "sha256", "digest": digest} for file, digest in sorted(sha256_by_name.items())
    ]
    serialization = {"method": "files", "hash_type": "sha256", "allow_symlinks": False, "ignore_paths": [ignored]}
    return _statement(
        FILES_TYPE,
        {name: _root_digest([sha256_by_name[file] for file in sorted(sha256_by_name)])},
        {"serialization": serialization, "resources": resources},
    )


def files_in(statement: Statement, *, where: str) -> dict[str, str]:
    """SHA-256 by name of the signed files. DataRejected for a statement of another type, or one at odds with itself."""
    _check_type(statement, FILES_TYPE, where=where)
    try:
        resources = statement["predicate"]["resources"]
        digests = [str(each["digest"]) for each in resources]
        is_sha256 = all(each["algorithm"] == "sha256" for each in resources)
        is_whole = is_sha256 and statement["subject"][0]["digest"]["sha256"] == _root_digest(digests)
    except (KeyError, TypeError, IndexError, ValueError):
        is_whole = False
    if not is_whole:
        raise DataRejected(f"{where}: the list of signed files does not give the digest that stands beside it.")
    return {str(each["name"]): digest for each, digest in zip(resources, digests, strict=True)}


def provenance_statement(origin: ModelOrigin) -> Statement:
    dependencies = [
        {"name": "dataset version", "uri": origin.dataset_version, "digest": {"sha256": origin.manifest_digest}},
        *({"name": path, "digest": {"sha256": digest}} for path, digest in sorted(origin.shards.items())),
        *([{"name": "base model", "digest": {"sha256": origin.base_model_digest}}] if origin.base_model_digest else []),
        *([{"name": "code", "digest": {"gitCommit": origin.git_commit}}] if origin.git_commit else []),
    ]
    predicate = {
        "buildDefinition": {
            "buildType": _BUILD_TYPE,
            "externalParameters": origin.model_dump(mode="json"),
            "resolvedDependencies": dependencies,
        },
        "runDetails": {
            "builder": {"id": origin.image or _BUILD_TYPE},
            "metadata": {"invocationId": origin.run_id},
            "byproducts": [{"name": VERDICT, "digest": {"sha256": origin.verdict_digest}}],
        },
    }
    return _statement(PROVENANCE_TYPE, {f"{origin.task}/{origin.model_digest}": origin.model_digest}, predicate)


def origin_in(statement: Statement, *, where: str) -> ModelOrigin:
    _check_type(statement, PROVENANCE_TYPE, where=where)
    try:
        return ModelOrigin.model_validate(statement["predicate"]["buildDefinition"]["externalParameters"])
    except (KeyError, TypeError, ValueError):
        raise DataRejected(f"{where}: the signed provenance is not of this version of Ratchet.") from None


def entry_statement(entry: LedgerEntry) -> Statement:
    """Who became champion by this entry, and by which verdict."""
    subjects = {f"ledger/{entry.task}/{entry.seq:08d}": entry_digest(entry), entry.model.uri: entry.model.digest}
    if entry.verdict_digest:
        subjects["verdict"] = entry.verdict_digest
    return _statement(ENTRY_TYPE, subjects, {"kind": entry.kind, "actor": entry.actor, "after": entry.after})


def _statement(kind: str, subjects: Mapping[str, str], predicate: Mapping[str, Any]) -> Statement:
    return {
        "_type": STATEMENT_TYPE,
        "subject": [{"name": name, "digest": {"sha256": digest}} for name, digest in subjects.items()],
        "predicateType": kind,
        "predicate": predicate,
    }


def _check_type(statement: Statement, kind: str, *, where: str) -> None:
    if statement.get("predicateType") != kind:
        raise DataRejected(f"{where}: the signature is of a {statement.get('predicateType')!r}, not of a {kind!r}.")


def _root_digest(digests: list[str]) -> str:
    """As `model_signing` has it: SHA-256 over the digests' bytes in the order of the list."""
    return hashlib.sha256(b"".join(bytes.fromhex(digest) for digest in digests)).hexdigest()
