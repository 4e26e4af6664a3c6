"""The signature of a model's folder: `model.sig` over every other file in it, readable by OpenSSF's `model_signing`."""

import hashlib
from collections.abc import Mapping
from pathlib import Path

from ratchet.core.digest import canonical_json
from ratchet.core.errors import DataRejected
from ratchet.core.models.envelope import BUNDLE_BYTES_MAX, Statement, read_statement, sign_statement
from ratchet.core.models.statements import files_in, files_statement
from ratchet.core.ports import Signer, TrustedKeys

SIGNATURE = "model.sig"
PROVENANCE = "provenance.json"
"""Signed as well: where the model came from."""


def sign_folder(path: Path, signer: Signer, *, name: str, provenance: Statement) -> None:
    """Write the provenance and the signature, in this order: the signature is over the provenance too."""
    (path / PROVENANCE).write_text(canonical_json(sign_statement(provenance, signer)) + "\n")
    (path / SIGNATURE).unlink(missing_ok=True)
    statement = files_statement(name, folder_digests(path), ignored=SIGNATURE)
    (path / SIGNATURE).write_text(canonical_json(sign_statement(statement, signer)) + "\n")


def check_folder(path: Path, keys: TrustedKeys | None, *, is_required: bool = False) -> str:
    """Compare the folder with its signature; DataRejected names the file that differs, or what is wrong otherwise.

    keys: None where nobody's signature counts, then nothing is compared. Gives a sentence about a folder without a
    signature, which `is_required` refuses; else "".
    """
    if keys is None:
        return ""
    if not (path / SIGNATURE).is_file():
        text = f"{path} has no {SIGNATURE}: this model is not signed"
        if is_required:
            raise DataRejected(f"{text}, and RATCHET_UNSIGNED_MODELS is `refuse`. Train it again; register signs it.")
        return text
    signed = files_in(read_bundle(path / SIGNATURE, keys), where=str(path / SIGNATURE))
    differs = _differences(signed, folder_digests(path))
    if differs:
        raise DataRejected(
            f"{path}: {differs} since it was signed. Nothing of it was run. Restore the files from a backup of the "
            "models' bucket, or train again."
        )
    return ""


def read_bundle(path: Path, keys: TrustedKeys) -> Statement:
    """What was signed in this file."""
    if path.stat().st_size > BUNDLE_BYTES_MAX:
        raise DataRejected(f"{path}: larger than {BUNDLE_BYTES_MAX} bytes, so it is no signature.")
    return read_statement(path.read_bytes(), keys, where=str(path))


def folder_digests(path: Path) -> dict[str, str]:
    """SHA-256 of every file in the folder but the signature, by its name there."""
    digests = {}
    for file in sorted(path.rglob("*")):
        name = file.relative_to(path).as_posix()
        if file.is_file() and name != SIGNATURE:
            with file.open("rb") as opened:
                digests[name] = hashlib.file_digest(opened, "sha256").hexdigest()
    return digests


def _differences(signed: Mapping[str, str], found: Mapping[str, str]) -> str:
    changed = [f"{name} has changed" for name in signed if name in found and found[name] != signed[name]]
    missing = [f"{name} is missing" for name in signed if name not in found]
    added = [f"{name} was added" for name in found if name not in signed]
    return ", ".join(sorted([*changed, *missing, *added]))
