"""Which model a folder holds: the digest of the files that decide its answers. Needs no torch (200 MB, a second)."""

from pathlib import Path

from ratchet.core.digest import digest_of_bytes, digest_of_files
from ratchet.core.errors import DataRejected

WEIGHTS, TASK, MLMODEL = "model.safetensors", "task.json", "MLmodel"
IDENTITY_FILES = (WEIGHTS, TASK, MLMODEL)
_SIZE_BYTES_MAX = 16 * 2**30


def model_digest(path: Path) -> str:
    """The identity of the model in a folder; DataRejected when a file is missing or absurdly large."""
    sha256_by_name = {}
    for name in IDENTITY_FILES:
        file = path / name
        if not file.is_file():
            raise DataRejected(f"{path}: no {name} in it, so it is no model. Give a folder that `finetune` wrote.")
        if file.stat().st_size > _SIZE_BYTES_MAX:
            raise DataRejected(f"{file}: larger than {_SIZE_BYTES_MAX} bytes; refusing to load it.")
        sha256_by_name[name] = digest_of_bytes(file.read_bytes())
    return digest_of_files(sha256_by_name)
