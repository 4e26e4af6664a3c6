"""A label bucket with many old shards, made in minutes: SeaweedFS's own `fs.meta.load` restores a dump that we write.

Putting a million objects through S3 takes twenty minutes and more of a machine with two cores. What a listing walks
is the filer's index of names, so the entries are loaded into it by the tool that restores backups; each holds its few
bytes inline, as small objects do.
"""

import hashlib
import subprocess
import time
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

from embedded.object_store import weed_binary
from ratchet.core.labels.shards import shard_key_of

_BODY = b"{}" + b" " * 60 + b"\n"
_LOADED_WITHIN_S = 1800
# The upper bit is Go's os.ModeDir, bit 31.
_DIRECTORY_MODE = 0o20000000770
_FILE_MODE = 0o660


def list_old_keys(task: str, *, num_shards: int, first_at: datetime, step_s: float) -> Iterator[str]:
    """Keys of shards that landed one after the other."""
    for number in range(num_shards):
        yield shard_key_of(task, first_at + timedelta(seconds=number * step_s), number.to_bytes(10, "big"))


def load_old_shards(state_dir: Path, keys: Iterator[str], *, bucket: str, master: str) -> float:
    """Load these keys into the filer of a running embedded stack; gives the seconds that it took.

    master: `host:port.grpc_port`; without the last part the tool would wait for ever at port + 10000.
    """
    folder = state_dir / "object_store"
    dump = folder / "old.meta"
    started = time.perf_counter()
    with dump.open("wb") as file:
        for entry in _render_entries(keys, root=f"/buckets/{bucket}"):
            file.write(len(entry).to_bytes(4, "big") + entry)
    subprocess.run(
        [weed_binary(), "shell", f"-master={master}"],
        input=f"fs.meta.load -v=false -concurrency=8 {dump.name}\nexit\n".encode(),
        cwd=folder,
        check=True,
        capture_output=True,
        timeout=_LOADED_WITHIN_S,
    )
    dump.unlink()
    return time.perf_counter() - started


def _render_entries(keys: Iterator[str], *, root: str) -> Iterator[bytes]:
    """`filer_pb.FullEntry` (dir=1, entry=2) of each key, and of each folder before its first file."""
    made: set[str] = set()
    for key in keys:
        parts = key.split("/")
        for depth in range(1, len(parts)):
            folder = "/".join(parts[:depth])
            if folder not in made:
                made.add(folder)
                yield _full_entry(f"{root}/{folder}", is_directory=True)
        yield _full_entry(f"{root}/{key}", is_directory=False)


def _full_entry(path: str, *, is_directory: bool) -> bytes:
    directory, _, name = path.rpartition("/")
    at = int(time.time()) - 86_400
    attributes = _number(2, at) + _number(3, _DIRECTORY_MODE if is_directory else _FILE_MODE) + _number(6, at)
    if not is_directory:
        attributes = _number(1, len(_BODY)) + attributes + _text(14, hashlib.md5(_BODY).digest())
    entry = _text(1, name.encode()) + (_number(2, 1) if is_directory else b"") + _text(4, attributes)
    if not is_directory:
        entry += _text(5, _text(1, b"X-Amz-Meta-num-labels") + _text(2, b"1")) + _text(9, _BODY)
    return _text(1, directory.encode()) + _text(2, entry)


def _number(field: int, value: int) -> bytes:
    # Wire type 0: a number.
    return bytes([field << 3]) + _varint(value)


def _text(field: int, value: bytes) -> bytes:
    # Wire type 2: a length, and so many bytes.
    return bytes([field << 3 | 2]) + _varint(len(value)) + value


def _varint(value: int) -> bytes:
    """Protocol Buffers' base-128 number."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])
