"""Which model a folder holds: the digest of the files that decide its answers. Needs no torch (200 MB, a second).

The weights (or the trees), the task, MLflow's description, what was learned of the training rows (`state.json`), the
temperature (`calibration.json`) and everything in `code/` are inside the digest. A model that was written before models
carried their code has no `code/`, and the digest that it always had; so has one without a state or a temperature.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from ratchet.core.digest import digest_of_bytes, digest_of_files
from ratchet.core.errors import DataRejected
from ratchet.core.uris import digest_in
from ratchet.tasks.code_files import CodeFile, read_code

WEIGHTS, TASK, MLMODEL = "model.safetensors", "task.json", "MLmodel"
TREES = "model.txt"
"""In the place of the weights: what LightGBM learned."""
LEARNED_FILES = (WEIGHTS, TREES)
"""Each model has one of these."""
IDENTITY_FILES = (WEIGHTS, TASK, MLMODEL)
"""Of a network."""
STATE = "state.json"
"""What the model's class learned of the training rows, beside the weights; only where it learns something."""
CALIBRATION = "calibration.json"
"""Only where the task file asks for one: the temperature of the answers."""
CODE = "code"
LIBRARY = "library.json"
"""Only where the implementation lies in an installed library: its name and version."""
FILE_DIGESTS = "digests.json"
"""The digest of each identity file, beside them: tells which one differs. It proves nothing by itself."""
_SIZE_BYTES_MAX = 16 * 2**30


@dataclass(frozen=True)
class ModelFolder:
    """A model's folder whose files were read and compared with its digest. No code of it has run."""

    path: Path
    digest: str
    task_json: bytes
    code: Mapping[str, CodeFile]
    """By path inside `code/`; empty for a model that was written before models carried their code."""
    library: Mapping[str, str] | None
    learned: str = WEIGHTS
    """Which of `LEARNED_FILES` it has."""
    state_json: bytes | None = None
    calibration_json: bytes | None = None

    @property
    def name(self) -> str:
        """For people: task and digest, `digits 1a2b3c4d5e6f`."""
        return _name_of(self.task_json, self.digest)


def model_digest(path: Path) -> str:
    """The identity of the model in a folder; DataRejected when a file is missing, absurdly large or of no model."""
    sha256_by_name, _, _ = _read(path)
    return digest_of_files(sha256_by_name)


def file_digests(path: Path) -> dict[str, str]:
    """SHA-256 of each file that decides the answers of the model in a folder, by its name there."""
    return _read(path)[0]


def read_model(path: Path, *, expected_digest: str = "") -> ModelFolder:
    """The model in a folder, compared with the digest that it must have. Runs nothing of it.

    expected_digest: of the ledger, the registry or the URI. "" for a folder whose name is no digest either: then the
    files are compared with what was written beside them when the model was saved.
    DataRejected names the file that differs, where that can be known.
    """
    sha256_by_name, contents, code = _read(path)
    found = digest_of_files(sha256_by_name)
    noted = _noted_digests(path)
    expected = expected_digest or digest_in(path.name) or (digest_of_files(noted) if noted else found)
    if found != expected:
        raise DataRejected(
            f"{path}: model {_name_of(contents[TASK], expected)} was expected, and the files have digest {found[:12]}: "
            f"{_difference(noted, sha256_by_name, expected=expected)}. Nothing of it was run. "
            "Restore the files from a backup of the models' bucket, or train again."
        )
    library = json.loads(contents[LIBRARY]) if LIBRARY in contents else None
    learned = next(name for name in LEARNED_FILES if name in sha256_by_name)
    return ModelFolder(
        path, found, contents[TASK], code, library, learned, contents.get(STATE), contents.get(CALIBRATION)
    )


def missing_of(names: Iterable[str]) -> tuple[str, ...]:
    """The files that a model must have and that are not among these names in its folder."""
    found = set(names)
    needed = (TREES, TASK, MLMODEL) if TREES in found else IDENTITY_FILES
    return tuple(name for name in needed if name not in found)


def write_file_digests(path: Path) -> str:
    """Note the digest of each identity file beside them; gives the model's digest."""
    sha256_by_name, _, _ = _read(path)
    (path / FILE_DIGESTS).write_text(json.dumps(sha256_by_name, indent=2, sort_keys=True) + "\n")
    return digest_of_files(sha256_by_name)


def _read(path: Path) -> tuple[dict[str, str], dict[str, bytes], dict[str, CodeFile]]:
    """The digest of each identity file, and the content of all but the weights: what runs is what was compared."""
    sha256_by_name, contents = {}, {}
    learned = _learned_file_of(path)
    for name in (learned, TASK, MLMODEL):
        file = path / name
        if not file.is_file():
            raise DataRejected(f"{path}: no {name} in it, so it is no model. Give a folder that `finetune` wrote.")
        if file.stat().st_size > _SIZE_BYTES_MAX:
            raise DataRejected(f"{file}: larger than {_SIZE_BYTES_MAX} bytes; refusing to load it.")
    with (path / learned).open("rb") as weights:
        sha256_by_name[learned] = hashlib.file_digest(weights, "sha256").hexdigest()
    for name in (TASK, MLMODEL, LIBRARY, STATE, CALIBRATION):
        if (path / name).is_file():
            contents[name] = (path / name).read_bytes()
            sha256_by_name[name] = digest_of_bytes(contents[name])
    code = read_code(path / CODE)
    sha256_by_name |= {f"{CODE}/{name}": digest_of_bytes(file.content) for name, file in code.items()}
    return sha256_by_name, contents, code


def _learned_file_of(path: Path) -> str:
    """Its name. Of two, nobody knows which one is the model."""
    found = [name for name in LEARNED_FILES if (path / name).is_file()]
    if len(found) > 1:
        raise DataRejected(f"{path}: {' and '.join(found)} are in it; a model has one of them. Remove the other.")
    return found[0] if found else WEIGHTS


def _noted_digests(path: Path) -> dict[str, str]:
    try:
        noted = json.loads((path / FILE_DIGESTS).read_bytes())
    except (FileNotFoundError, ValueError):
        return {}
    is_valid = isinstance(noted, dict) and all(isinstance(value, str) for value in noted.values())
    return noted if is_valid else {}


def _difference(noted: Mapping[str, str], found: Mapping[str, str], *, expected: str) -> str:
    """Which files differ. The note counts only when it is the expected model's own."""
    if not noted or digest_of_files(noted) != expected:
        return f"which file differs is not known, because {FILE_DIGESTS} is missing or is not that model's"
    changed = [f"{name} has changed" for name in noted if name in found and found[name] != noted[name]]
    missing = [f"{name} is missing" for name in noted if name not in found]
    added = [f"{name} was added" for name in found if name not in noted]
    return ", ".join(sorted([*changed, *missing, *added]))


def _name_of(task_json: bytes, digest: str) -> str:
    try:
        task = str(json.loads(task_json)["name"])[:40]
    except (ValueError, KeyError, TypeError):
        task = "of an unreadable task"
    return f"{task} {digest[:12]}"
