"""How a worker says why a training ended: one JSON file, which the first worker that fails writes.

A failure that no restart can mend (an exception of the task's code, wrong data, a wrong task file) is written before
the worker lets go of its connections. So the others, whose next collective then fails, find the file, and all end at
once instead of being started again by torchrun.
"""

import logging
import os
import re
import uuid
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from ratchet.core import errors
from ratchet.core.errors import DataRejected, PolicyError, RatchetError, Unavailable
from ratchet.tasks.user_errors import sentence_of

log = logging.getLogger(__name__)

_LOST_PEER = re.compile(
    r"[Cc]onnection (?:closed|reset|refused)|connectFullMesh|[Bb]roken pipe|[Tt]imed out|NCCL|remote process|peer rank"
)
"""The words of torch.distributed when another worker is gone. Its errors have no class of their own on gloo."""


class TrainingFailure(BaseModel):
    """Why a training ended for good."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    text: str
    kind: str
    """Name of the class in `ratchet.core.errors` that it is raised as."""
    rank: int
    world_size: int

    def as_error(self) -> RatchetError:
        worker = f" (worker {self.rank} of {self.world_size})" if self.world_size > 1 else ""
        kind: type[RatchetError] = getattr(errors, self.kind, PolicyError)
        return kind(f"{self.text}{worker}")


def record_failure(error: BaseException, path: Path, *, rank: int, world_size: int) -> bool:
    """Write down a failure that no restart can mend, unless another worker did. Whether one is on file now: if so this
    worker ends quietly, else it lets the exception go, and torchrun starts all workers again."""
    if not isinstance(error, KeyboardInterrupt) and not is_lost_peer(error) and not isinstance(error, Unavailable):
        failure = TrainingFailure(text=sentence_of(error), kind=_kind_of(error), rank=rank, world_size=world_size)
        log.error("worker %d of %d failed: %s", rank, world_size, failure.text, exc_info=error)
        _write_once(path, failure.model_dump_json())
    return path.exists()


def record_stop(text: str, path: Path) -> None:
    """Write down that a training ended early and goes on at the next attempt: no worker's own doing."""
    stopped = TrainingFailure(text=text, kind=Unavailable.__name__, rank=0, world_size=1)
    _write_once(path, stopped.model_dump_json())


def raise_failure(path: Path) -> None:
    """Raise what a worker wrote down; nothing happens when none did."""
    if not path.exists():
        return
    try:
        failure = TrainingFailure.model_validate_json(path.read_bytes())
    except ValidationError:
        raise DataRejected(f"{path} does not say why the training ended: {path.read_text()[:200]!r}") from None
    raise failure.as_error()


def is_lost_peer(error: BaseException) -> bool:
    """Whether it says that another worker is gone, which is a consequence and no cause."""
    is_torch = any("torch.distributed" in kind.__module__ or kind is RuntimeError for kind in type(error).__mro__)
    is_system = isinstance(error, ConnectionError)
    return (is_torch or is_system) and bool(_LOST_PEER.search(str(error)))


def _kind_of(error: BaseException) -> str:
    return type(error).__name__ if isinstance(error, RatchetError) else PolicyError.__name__


def _write_once(path: Path, text: str) -> None:
    """Whole or not at all, and the first stays."""
    half = path.with_name(f"{path.name}.{uuid.uuid4().hex}")
    half.write_text(text)
    try:
        # link(2) fails where the name is taken; a rename would replace the first worker's text.
        os.link(half, path)
    except FileExistsError:
        pass
    finally:
        half.unlink()
