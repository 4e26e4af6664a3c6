"""Where the checkpoints of a training are. Beside `checkpoint.py`, since the step that carries them away needs no
torch: importing that takes 3 s."""

import re
from pathlib import Path
from typing import NamedTuple

_FOLDER = re.compile(r"^epoch-(\d+)(?:-step-(\d+))?$")


class Place(NamedTuple):
    """In a training. Places are ordered as they come."""

    epoch: int
    """Whole epochs that were done."""
    step: int = 0
    """Steps of the next one that were done."""

    @property
    def folder(self) -> str:
        return f"epoch-{self.epoch:04d}" + (f"-step-{self.step:06d}" if self.step else "")

    def __str__(self) -> str:
        """For people."""
        return f"step {self.step} of epoch {self.epoch + 1}" if self.step else f"epoch {self.epoch}"


def newest_checkpoint(checkpoint_dir: Path) -> tuple[Place, Path] | None:
    """Where it is in the training, and its folder."""
    found = checkpoints_in(checkpoint_dir)
    return (_place_of(found[-1]), found[-1]) if found else None


def checkpoints_in(checkpoint_dir: Path) -> list[Path]:
    """The oldest first."""
    return sorted((path for path in checkpoint_dir.glob("epoch-*") if _FOLDER.match(path.name)), key=_place_of)


def _place_of(folder: Path) -> Place:
    match = _FOLDER.match(folder.name)
    assert match is not None, "the name of a checkpoint"
    return Place(int(match[1]), int(match[2] or 0))
