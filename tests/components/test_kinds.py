"""Each ready-made kind learns a small made-up set through its learner, is saved, loaded, and beats the baseline."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ratchet.core.errors import DataRejected
from ratchet.core.models.training_history import EpochMetrics
from ratchet.core.models.training_progress import TrainingProgress
from ratchet.tasks.identity import model_digest
from ratchet.tasks.model_files import load_model
from ratchet.tasks.spec import TaskSpec
from tests.components.learning import mails, measured, one_worker, start_of, task_of, trained

MIXED: list[dict[str, Any]] = [
    {"name": "distance", "type": "number"},
    {"name": "carrier", "type": "category"},
    {"name": "remark", "type": "text", "optional": True},
]
RATING = {"name": "rating", "type": "number"}


@pytest.fixture(scope="module", autouse=True)
def worker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with one_worker(tmp_path_factory.mktemp("worker")):
        yield


def mixed_rows(num_rows: int, *, seed: int = 0, slope: float = 1.0) -> list[dict[str, Any]]:
    """A rating that depends on all three columns, each in its own way."""
    generator = np.random.default_rng(seed)
    rows = []
    for row in range(num_rows):
        distance, carrier = float(generator.lognormal(3)), "ABC"[row % 3]
        remark = None if row % 5 == 0 else ("a fine film" if row % 2 else "a dull film")
        rating = slope * np.log(distance) + 2 * (carrier == "A") + 3 * (remark == "a fine film")
        inputs = {"distance": distance, "carrier": carrier, "remark": remark}
        rows.append({"id": f"r{row}", "inputs": inputs, "label": float(rating + generator.normal(scale=0.2))})
    return rows


def pictures(num_rows: int, seed: int) -> list[dict[str, Any]]:
    """A bright square in the upper or lower half."""
    generator = np.random.default_rng(seed)
    rows = []
    for row in range(num_rows):
        pixels = generator.integers(0, 80, size=(12, 12, 1), dtype=np.uint8)
        left, top = int(generator.integers(0, 8)), int(generator.integers(0, 3)) + 6 * (row % 2)
        pixels[top : top + 4, left : left + 4] = 200
        rows.append({"id": f"r{row}", "inputs": {"picture": pixels.tobytes()}, "label": ["up", "down"][row % 2]})
    return rows


def points(num_rows: int, seed: int) -> list[dict[str, Any]]:
    generator = np.random.default_rng(seed)
    values = generator.normal(size=(num_rows, 5)) * 100
    tags = [[name for name, value in zip("xyz", row, strict=False) if value > 0] for row in values]
    return [{"id": f"r{i}", "inputs": {"v": list(values[i])}, "label": tags[i]} for i in range(num_rows)]


Rows = Callable[[int, int], list[dict[str, Any]]]
CASES: dict[str, tuple[TaskSpec, Rows, str, float]] = {
    "vector-tags": (
        task_of(
            "vector",
            [{"name": "v", "type": "vector", "size": 5}],
            {"type": "tags", "classes": ["x", "y", "z"]},
            training={"num_epochs": 12},
        ),
        points,
        "tags_f1",
        0.9,
    ),
    "text": (
        task_of(
            "text",
            [{"name": "body", "type": "text"}],
            {"type": "category", "classes": ["ham", "spam"]},
            model={"buckets": 4096},
        ),
        mails,
        "accuracy",
        0.9,
    ),
    "image": (
        task_of(
            "image",
            [{"name": "picture", "type": "image", "width": 12, "height": 12, "channels": 1}],
            {"type": "category", "classes": ["up", "down"]},
            model={"channels": 8},
        ),
        pictures,
        "accuracy",
        0.9,
    ),
    "tabular-number": (
        task_of("tabular", MIXED, RATING, model={"buckets": 4096}),
        lambda num, seed: mixed_rows(num, seed=seed),
        "r2",
        0.85,
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_a_kind_learns_what_a_constant_cannot(tmp_path: Path, name: str) -> None:
    spec, rows_of, metric, at_least = CASES[name]
    job = trained(tmp_path / "job", spec, rows_of(600, 0))
    assert measured(job, rows_of(200, 1), metric) > at_least
    assert (job.model_path / "state.json").is_file()
    assert (job.model_path / "code" / "ratchet" / "tasks" / "kinds" / f"{spec.model.kind}.py").is_file()


@pytest.mark.parametrize(
    ("output", "metric", "at_least"),
    [
        pytest.param(RATING, "r2", 0.85, id="number"),
        pytest.param({"type": "category", "classes": ["no", "yes"]}, "roc_auc", 0.9, id="two-classes"),
        pytest.param({"type": "category", "classes": ["low", "mid", "high"]}, "accuracy", 0.7, id="three-classes"),
        pytest.param({"type": "tags", "classes": ["good", "far"]}, "tags_f1", 0.8, id="tags"),
    ],
)
@pytest.mark.parametrize("boosting", ["gbdt", "rf"])
def test_trees_learn_every_type_of_output_and_give_the_same_bits_again(
    tmp_path: Path, boosting: str, output: dict[str, Any], metric: str, at_least: float
) -> None:
    spec = task_of("trees", MIXED, output, model={"boosting": boosting, "num_trees": 60})
    relabelled = [{**row, "label": label_of(row, spec)} for row in mixed_rows(900)]
    first, again = (trained(tmp_path / name, spec, relabelled[:600]) for name in ("first", "again"))
    assert measured(first, relabelled[600:], metric) > at_least
    assert model_digest(first.model_path) == model_digest(again.model_path)
    assert {"model.txt", "state.json"} <= {path.name for path in first.model_path.iterdir()}
    assert not (first.model_path / "model.safetensors").exists()
    history = [EpochMetrics.model_validate_json(line) for line in first.history_path.read_text().splitlines()]
    assert history[-1].train_loss < history[0].train_loss or boosting == "rf"
    assert [each.peak_memory_mb is not None for each in history] == [False] * (len(history) - 1) + [True]
    assert first.progress_path is not None
    told = TrainingProgress.model_validate_json(first.progress_path.read_bytes())
    num_boosters = len(spec.classes) if spec.output.type == "tags" else 1
    assert (told.unit, told.num_steps, told.is_at_most) == ("tree", 60 * num_boosters, True)
    assert 1 <= told.step <= told.num_steps and told.loss is not None


def label_of(row: dict[str, Any], spec: TaskSpec) -> Any:
    rating = row["label"]
    if spec.output.type == "tags":
        return [tag for tag, is_set in (("good", rating > 6), ("far", row["inputs"]["distance"] > 20)) if is_set]
    if spec.output.type == "category":
        places = [4, 6] if len(spec.classes) == 3 else [5]
        return spec.classes[int(np.searchsorted(places, rating))]
    return rating


def test_trees_are_added_to_the_champions_where_the_task_asks_for_it(tmp_path: Path) -> None:
    spec = task_of("trees", MIXED, RATING, model={"num_trees": 20}, training={"start": "champion"})
    first = trained(tmp_path / "first", spec, mixed_rows(300))
    more = trained(tmp_path / "more", spec, mixed_rows(300), base=first.model_path)
    assert start_of(more).text() == "20 trees of champion version 1"
    assert (more.model_path / "model.txt").read_text().count("Tree=") == 40


def test_each_learner_starts_fresh_from_a_champion_of_the_other_and_says_so(tmp_path: Path) -> None:
    trees = task_of("trees", MIXED, RATING, model={"num_trees": 5}, training={"start": "champion"})
    network = task_of("tabular", MIXED, RATING, training={"num_epochs": 1})
    grown = trained(tmp_path / "trees", trees, mixed_rows(200))
    learned = trained(tmp_path / "network", network, mixed_rows(200), base=grown.model_path)
    assert start_of(learned).text() == "a fresh model: the champion is of kind trees, of which nothing fits"
    regrown = trained(tmp_path / "again", trees, mixed_rows(200), base=learned.model_path)
    assert start_of(regrown).text() == "a fresh model: the champion is of kind tabular, of which nothing fits"


def test_a_network_keeps_the_champions_weights_when_a_few_categories_are_new(tmp_path: Path) -> None:
    spec = task_of("tabular", MIXED, RATING, model={"buckets": 4096}, training={"num_epochs": 1})
    rows = mixed_rows(300)
    first = trained(tmp_path / "first", spec, rows)
    for row in rows[:9]:
        row["inputs"]["carrier"] = "D"
    more = trained(tmp_path / "more", spec, [*rows[100:], *rows[:9], *rows[9:100]], base=first.model_path)
    start = start_of(more)
    assert (start.num_taken, start.missing) == (start.num_tensors, ())
    before, after = (load_model(job.model_path).state for job in (first, more))
    assert before is not None and after is not None
    assert after["columns"]["carrier"]["values"] == [*before["columns"]["carrier"]["values"], "D"]


def test_trees_that_cannot_learn_say_so_in_words(tmp_path: Path) -> None:
    spec = task_of("trees", MIXED, RATING, model={"min_rows": 1000})
    with pytest.raises(DataRejected, match="nothing to learn in 50 training rows"):
        trained(tmp_path / "job", spec, mixed_rows(60), in_own_process=True)
