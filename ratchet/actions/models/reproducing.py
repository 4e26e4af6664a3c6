"""Train a registered model once more from its lineage, on this machine, and compare the bits.

It reads the registry's files and the dataset, and writes into a scratch folder alone. What trains is the code that the
model carries, bound to its digest, with the base model and the dataset version that the lineage names.
"""

import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ratchet.actions.labels.left_out import Pinned
from ratchet.actions.labels.rows import fetch_split
from ratchet.actions.models.provenance import Provenance, find_provenance
from ratchet.actions.models.training import TrainingInputs, prepare_job, run_job
from ratchet.core.errors import NotFound, PolicyError
from ratchet.core.models.environment import (
    EnvironmentDifference,
    TrainingEnvironment,
    environment_differences,
)
from ratchet.core.models.registered import KnownModel
from ratchet.core.models.reproduction import (
    ArrayDifferences,
    Reproduction,
    SameAnswers,
    arrays_of_trees,
    compare_answers,
    compare_arrays,
)
from ratchet.core.models.training_history import EpochMetrics
from ratchet.core.ports import DatasetStore, ObjectStore
from ratchet.tasks.identity import CALIBRATION, LEARNED_FILES, STATE, TREES, file_digests, read_model
from ratchet.tasks.model_files import code_carried_by, load_model, load_weights
from ratchet.tasks.spec import TaskSpec
from ratchet.training.job import TrainingJob
from ratchet.training.learners import Learner
from ratchet.training.split_rows import read_split
from wire.loop import Loop

_LOOK_S = 0.3
_LOOK_LATE_S = 30.0


@dataclass(frozen=True)
class ReproducePorts:
    datasets: DatasetStore
    objects: ObjectStore
    learner_of: Callable[[TaskSpec], Learner]
    git_commit: str = ""
    """Of the Ratchet that runs here; "" where it is not known."""


def reproduce(
    model: KnownModel,
    known: Sequence[KnownModel],
    *,
    task: str,
    ports: ReproducePorts,
    tell: Callable[[EpochMetrics], None],
    keep_path: Path | None = None,
    is_anyway: bool = False,
) -> Reproduction:
    """What the same training gives today.

    known: all models of the task, among which the base model is looked for. tell: gets each epoch, from another thread.
    keep_path: a new folder for the reproduced model. is_anyway: train also on a dataset version that has changed.
    NotFound, DataRejected or PolicyError name what of the lineage is gone or cannot be loaded.
    """
    with tempfile.TemporaryDirectory() as scratch_name:
        scratch = Path(scratch_name)
        provenance = find_provenance(
            model,
            known,
            task=task,
            datasets=ports.datasets,
            objects=ports.objects,
            path=scratch / "registered",
            is_anyway=is_anyway,
        )
        job = _train_again(provenance, scratch, ports=ports, tell=tell)
        if keep_path is not None:
            shutil.copytree(job.model_path, keep_path, dirs_exist_ok=True)
        return _compare(f"{task}/{model.name}", model, provenance, job, ports=ports, scratch=scratch)


def _train_again(
    provenance: Provenance, scratch: Path, *, ports: ReproducePorts, tell: Callable[[EpochMetrics], None]
) -> TrainingJob:
    folder = provenance.folder
    try:
        code_digest = code_carried_by(folder, provenance.spec).digest
    except PolicyError as error:
        raise PolicyError(f"The code of {folder.name} cannot be loaded here: {error}") from None
    spec, manifest = provenance.spec, provenance.manifest
    inputs = TrainingInputs(
        spec,
        manifest,
        provenance.base,
        code_digest=code_digest,
        code_path=folder.path,
        before=provenance.before,
        why_all=provenance.why_all,
        pinned=Pinned(before=provenance.left_out),
    )
    try:
        job, _ = prepare_job(inputs, scratch, datasets=ports.datasets, objects=ports.objects)
    except NotFound as error:
        raise NotFound(
            f"Files of {manifest.version} are gone: {error} Restore them from a backup of the datasets' bucket."
        ) from None
    with _told(job.history_path, tell):
        run_job(job, ports.learner_of(provenance.spec), log_path=scratch / "log.txt")
    return job


@contextmanager
def _told(history_path: Path, tell: Callable[[EpochMetrics], None]) -> Iterator[None]:
    """Tell each epoch once while the training goes on."""
    num_told = 0

    def look() -> None:
        nonlocal num_told
        text = history_path.read_text() if history_path.exists() else ""
        lines = text[: text.rfind("\n") + 1].splitlines()
        for line in lines[num_told:]:
            tell(EpochMetrics.model_validate_json(line))
        num_told = max(num_told, len(lines))  # a worker that is started again writes its lines again

    loop = Loop("epochs", look, pause_s=_LOOK_S, late_s_max=_LOOK_LATE_S, at_stop=look)
    loop.start()
    try:
        yield
    finally:
        loop.stop()


def _compare(
    name: str, model: KnownModel, provenance: Provenance, job: TrainingJob, *, ports: ReproducePorts, scratch: Path
) -> Reproduction:
    then, now = file_digests(provenance.folder.path), file_digests(job.model_path)
    files = tuple(each for each in sorted({*then, *now}) if then.get(each) != now.get(each))
    is_identical = not {*LEARNED_FILES, STATE, CALIBRATION}.intersection(files)
    test_path = scratch / "test.parquet"
    return Reproduction(
        model=name,
        result="identical" if is_identical else "differs",
        digest=provenance.folder.digest,
        reproduced_digest=read_model(job.model_path).digest,
        dataset_version=provenance.manifest.version,
        num_erased=provenance.num_erased,
        is_environment_recorded=provenance.is_environment_recorded,
        environment=_environment_differences(provenance, job, model.tags, git_commit=ports.git_commit),
        files=files,
        arrays=None if is_identical else _compare_learned(provenance.folder.path, job.model_path),
        answers=None if is_identical else _ask_both(provenance, job.model_path, ports.datasets, test_path),
        notes=provenance.notes,
    )


def _environment_differences(
    provenance: Provenance, job: TrainingJob, tags: Mapping[str, str], *, git_commit: str
) -> tuple[EnvironmentDifference, ...]:
    assert job.environment_path is not None, "prepare_job names one"
    here = TrainingEnvironment.model_validate_json(job.environment_path.read_bytes())
    found = environment_differences(provenance.environment, here)
    then = tags.get("git_commit", "")
    if then and git_commit and then != git_commit:
        found = (*found, EnvironmentDifference("git commit", then, git_commit))
    return found


def _compare_learned(then: Path, now: Path) -> ArrayDifferences | None:
    """None where one is trees and the other a network, which the names of the files say."""
    if all((path / TREES).exists() for path in (then, now)):
        one, other = (arrays_of_trees((path / TREES).read_text()) for path in (then, now))
        return compare_arrays(one, other, noun="lists of numbers in the trees")
    if any((path / TREES).exists() for path in (then, now)):
        return None
    return compare_arrays(_arrays_in(then), _arrays_in(now))


def _arrays_in(path: Path) -> dict[str, np.ndarray]:
    """A model's weights by name. NumPy has no bfloat16: float32 holds each of its numbers exactly."""
    weights = load_weights(path)
    return {
        name: (weight.float() if weight.is_floating_point() and weight.itemsize < 4 else weight).numpy()
        for name, weight in weights.items()
    }


def _ask_both(provenance: Provenance, now: Path, datasets: DatasetStore, path: Path) -> SameAnswers | None:
    """About the rows of the test split as it is now."""
    spec = provenance.spec
    fetch_split(datasets, provenance.manifest, "test", path, spec=spec)
    inputs, _ = read_split(path, spec)
    if not inputs.num_rows:
        return None
    models = (load_model(provenance.folder.path, expected_digest=provenance.folder.digest), load_model(now))
    one, other = (each.answer(inputs).labels.to_pylist() for each in models)
    tolerance = spec.output.tolerance if spec.output.type == "number" else None
    return compare_answers(one, other, tolerance=tolerance)
