"""What a training worker is told, as one JSON file: the seam between the step and the processes it starts."""

from collections.abc import Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from ratchet.tasks.spec import TaskSpec

CHOICE = "choice.json"
"""What `training: auto` chose: beside the job, in each of its checkpoints, and beside the model's digest."""


class TrainingJob(BaseModel):
    """One distributed training. All paths are local and seen by every worker."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    spec: TaskSpec
    train_path: Path
    """Parquet with the columns `inputs` (or, of before, `features`) and `label`."""
    val_path: Path
    code_digest: str = ""
    """Of the task's code when the step looked at it: a worker that finds other code stops. "" compares nothing."""
    code_path: Path | None = None
    """Folder of a model whose code trains; None = the user's code as it is now."""
    base_model_path: Path | None
    """Folder of the model whose weights are the start; None = a fresh network."""
    base_name: str = "the base model"
    """What people call it: "champion version 3"."""
    checkpoint_dir: Path
    model_path: Path
    """Where worker 0 writes the trained model."""
    start_path: Path
    """Where worker 0 writes the `StartRecord`."""
    history_path: Path
    """Where worker 0 writes one JSON line an epoch."""
    choice_path: Path | None = None
    """What `training: auto` chose for this training; None where the task file says it."""
    environment_path: Path | None = None
    """Where worker 0 writes the `TrainingEnvironment`; None writes none."""
    progress_path: Path | None = None
    """Where worker 0 tells how far it is while it trains (progress.py); None tells nothing."""
    give_up_above: dict[int, float] = {}
    """Epochs after which a training ends without a model if its lowest validation loss until then is above that."""
    failure_path: Path
    """Where a worker says what no restart can mend (failure.py); absent when all went well."""


class StartRecord(BaseModel):
    """What a training began with: which weights are the champion's, and which are not."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    base: str
    """"champion version 3"; "" = a fresh network."""
    why_fresh: str = ""
    """Why nothing of the champion was taken over, where that is not plain."""
    num_tensors: int = 0
    num_taken: int = 0
    """Whole tensors, and those of which the slices of known classes were taken."""
    num_trees: int = 0
    """Of the champion, to which new ones are added."""
    missing: tuple[str, ...] = ()
    """Tensors of the new network that start fresh, each with the reason: "6.weight (10x512 -> 11x512)"."""
    unused: tuple[str, ...] = ()
    """The champion's tensors that the new network does not have."""
    by_class: tuple[str, ...] = ()
    """Tensors that were taken over class by class, because the list of classes has changed."""
    num_classes_kept: int = 0
    new_classes: tuple[str, ...] = ()
    removed_classes: tuple[str, ...] = ()
    is_reordered: bool = False

    def text(self, *, names_max: int = 8) -> str:
        """One line for people; lists are cut to `names_max` names."""
        if not self.base:
            return f"a fresh model: {self.why_fresh}" if self.why_fresh else "a fresh network"
        if self.num_trees:
            return f"{self.num_trees} trees of {self.base}"
        parts = [f"{self.num_taken} of {self.num_tensors} tensors of {self.base} taken over"]
        if self.missing:
            parts.append(f"not: {_listed(self.missing, names_max)}")
        if self.unused:
            parts.append(f"without a place here: {_listed(self.unused, names_max)}")
        if self.new_classes or self.removed_classes or self.is_reordered:
            how = "class by class" if self.by_class else "no tensor with a slice for each class was found for them"
            parts.append(
                f"{self.num_classes_kept} known classes {how}: {_listed(self.by_class, names_max)}".rstrip(": ")
            )
        if self.new_classes:
            parts.append(f"new classes: {_listed(self.new_classes, names_max)}")
        if self.removed_classes:
            parts.append(f"removed classes: {_listed(self.removed_classes, names_max)}")
        return "; ".join(parts)


def _listed(names: Sequence[str], names_max: int) -> str:
    more = f" and {len(names) - names_max} more" if len(names) > names_max else ""
    return ", ".join(names[:names_max]) + more
