"""A search over real trainings: killed in the middle it ends with the model that it would have had, and a model that a
search found is one that a training alone gives."""

import json
from pathlib import Path

import pytest

from components.finetune.page import write_page
from components.finetune.step import finetune_step
from ratchet.actions.models.searching import Searching, search
from ratchet.adapters.optuna_draws import OptunaDraws
from ratchet.core.errors import DataRejected, Unavailable
from ratchet.core.models.search import SEARCH_FILE, SearchJournal
from ratchet.core.ports import DatasetStore
from ratchet.stores.finished import FinishedWork
from ratchet.tasks.identity import read_model
from ratchet.tasks.spec import TaskSpec
from ratchet.training.job import TrainingJob
from tests.components.learning import job_of
from tests.components.rollout_world import TASK, Objects
from tests.components.test_challenger import commit_digits
from tests.components.test_kept_checkpoints import ThisProcess
from tests.components.test_training import spec_of
from tests.fakes.dataset_store import FakeDatasetStore
from tests.fakes.ledger import FakeLedger
from tests.models import changed

NUM_TRIALS = 5
SPACE: dict[str, object] = {"learning_rate": {"low": 0.0001, "high": 0.03, "log": True}, "batch_size": [32, 64, 128]}


def searching(space: dict[str, object]) -> TaskSpec:
    spec = spec_of("Odd")
    more = {"num_epochs": 3, "world_size": 1, "search": {"trials": NUM_TRIALS, "space": space}}
    return changed(spec, {"training": {**spec.training.model_dump(), **more}})


class Counting(ThisProcess):
    """Notes the jobs; the machine of a numbered training goes away at its end."""

    def __init__(self, killed_at: int | None = None) -> None:
        super().__init__()
        self.jobs: list[TrainingJob] = []
        self._killed_at = killed_at

    def train(self, job: TrainingJob, *, job_path: Path, log_path: Path) -> None:
        self.jobs.append(job)
        super().train(job, job_path=job_path, log_path=log_path)
        if len(self.jobs) == self._killed_at:
            raise Unavailable("the machine is gone")


def finetune(folder: Path, spec: TaskSpec, objects: Objects, learner: ThisProcess, datasets: DatasetStore) -> str:
    """The model's digest."""
    folder.mkdir()
    manifest = datasets.fetch_manifest("digits/v1")
    digest, _ = finetune_step(
        spec,
        manifest,
        datasets=datasets,
        objects=objects,
        ledger=FakeLedger(),
        learner=learner,
        model_path=folder / "model",
        log_path=folder / "log.txt",
        finished=FinishedWork(objects, "ratchet").of_run(TASK, "run-1"),
        draws=OptunaDraws(),
    )
    return digest


@pytest.fixture(scope="module")
def datasets() -> FakeDatasetStore:
    store = FakeDatasetStore()
    commit_digits(store)
    return store


@pytest.fixture(scope="module")
def whole(datasets: FakeDatasetStore, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, Counting]:
    """A search that nothing disturbed: where its files are, the model's digest, and what was trained."""
    folder, learner = tmp_path_factory.mktemp("search") / "whole", Counting()
    return folder, finetune(folder, searching(SPACE), Objects(), learner, datasets), learner


def journal_in(folder: Path) -> SearchJournal:
    return SearchJournal.model_validate_json((folder / "model" / SEARCH_FILE).read_bytes())


def facts(journal: SearchJournal) -> list[dict[str, object]]:
    return [each.model_dump(exclude={"seconds"}) for each in journal.trials]


def test_a_search_that_is_killed_goes_on_and_ends_with_the_same_model(
    whole: tuple[Path, str, Counting], datasets: FakeDatasetStore, tmp_path: Path
) -> None:
    folder, digest, _ = whole
    objects = Objects()
    with pytest.raises(Unavailable, match="machine is gone"):
        finetune(tmp_path / "killed", searching(SPACE), objects, Counting(killed_at=4), datasets)
    later = Counting()
    assert finetune(tmp_path / "later", searching(SPACE), objects, later, datasets) == digest
    assert facts(journal_in(tmp_path / "later")) == facts(journal_in(folder))
    trained = [job.model_path.parent.name for job in later.jobs]
    best = journal_in(folder).best
    assert best is not None
    again = [f"trial-{best.number:03d}"] if best.number < 4 else []
    assert trained == ["trial-004", "trial-005", *again], "the three that were done are not trained, but for the files"


def test_some_are_given_up_and_the_best_is_the_model(whole: tuple[Path, str, Counting]) -> None:
    folder, digest, _ = whole
    journal = journal_in(folder)
    best = journal.best
    assert best is not None
    assert [each.number for each in journal.trials] == list(range(1, NUM_TRIALS + 1))
    assert any(each.state == "pruned" and len(each.val_losses) == 1 for each in journal.trials)
    assert sum(len(each.val_losses) for each in journal.trials) < 3 * NUM_TRIALS
    assert best.loss == min(each.loss for each in journal.trials if each.loss is not None and each.state == "complete")
    task = TaskSpec.model_validate_json(read_model(folder / "model", expected_digest=digest).task_json)
    assert task.training.search is None
    assert {name: getattr(task.training, name) for name in best.values} == dict(best.values)
    lineage = json.loads((folder / "model" / "lineage.json").read_text())
    assert lineage["search"].startswith(f"trial {best.number} of {NUM_TRIALS}: learning_rate=")
    assert len(lineage["search_trials"].splitlines()) == NUM_TRIALS
    write_page(searching(SPACE), folder / "model", folder / "page.html")
    page = (folder / "page.html").read_text()
    assert f"The model is that of trial {best.number}." in page


def test_the_model_is_what_its_own_task_file_gives(
    whole: tuple[Path, str, Counting], datasets: FakeDatasetStore, tmp_path: Path
) -> None:
    folder, digest, _ = whole
    own = TaskSpec.model_validate_json(read_model(folder / "model").task_json)
    assert finetune(tmp_path / "own", own, Objects(), ThisProcess(), datasets) == digest


def test_a_space_that_is_used_up_ends_the_search(datasets: FakeDatasetStore, tmp_path: Path) -> None:
    finetune(tmp_path / "small", searching({"batch_size": [64, 128]}), Objects(), Counting(), datasets)
    assert len(journal_in(tmp_path / "small").trials) == 2


class Refusing(ThisProcess):
    def train(self, job: TrainingJob, *, job_path: Path, log_path: Path) -> None:
        raise DataRejected(f"the loss is nan at {job.spec.training.batch_size}")


def test_a_search_without_a_trial_that_ends_is_refused_with_the_reasons(
    datasets: FakeDatasetStore, tmp_path: Path
) -> None:
    with pytest.raises(DataRejected, match=r"none of 2 trials came to its end: the loss is nan at .*; the loss is nan"):
        finetune(tmp_path / "nan", searching({"batch_size": [64, 128]}), Objects(), Refusing(), datasets)


def test_a_search_without_validation_rows_is_refused_before_it_trains(tmp_path: Path) -> None:
    rows = [{"id": str(number), "inputs": {"features": [0.0] * 64}, "label": "1"} for number in range(5)]
    job, learner = job_of(tmp_path / "none", searching(SPACE), rows), Counting()
    with pytest.raises(DataRejected, match="the dataset has none"):
        search(job, Searching(learner, OptunaDraws(), SearchJournal(), keep=lambda _: None), log_path=tmp_path / "log")
    assert not learner.jobs
