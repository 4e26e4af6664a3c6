"""`training: {calibrate: temperature}` through the learners: the same weights, other probabilities, another digest."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from ratchet.core.errors import DataRejected
from ratchet.core.models.temperature import with_temperature
from ratchet.tasks.identity import file_digests, model_digest
from ratchet.tasks.model_files import load_model
from ratchet.training.job import TrainingJob
from ratchet.training.split_rows import read_split
from tests.components.learning import one_worker, trained
from tests.components.test_class_weights import flights, rows


@pytest.fixture(scope="module", autouse=True)
def worker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with one_worker(tmp_path_factory.mktemp("worker")):
        yield


def scores_of(job: TrainingJob) -> np.ndarray:
    inputs, _ = read_split(job.val_path, job.spec)
    scores = load_model(job.model_path).answer(inputs).scores_BK
    assert scores is not None
    return scores


@pytest.mark.parametrize("kind", ["tabular", "trees"])
def test_a_model_answers_by_the_temperature_that_lies_beside_its_weights(kind: str, tmp_path: Path) -> None:
    plain = trained(tmp_path / "plain", flights(kind), rows())
    calibrated = trained(tmp_path / "calibrated", flights(kind, calibrate="temperature"), rows())
    differing = {"calibration.json", "task.json"}
    one, other = file_digests(plain.model_path), file_digests(calibrated.model_path)
    if kind == "trees":
        assert (plain.model_path / "model.txt").read_bytes() == (calibrated.model_path / "model.txt").read_bytes()
    assert {name for name in {*one, *other} if one.get(name) != other.get(name)} == differing
    temperature = json.loads((calibrated.model_path / "calibration.json").read_bytes())["temperature"]
    assert 0.05 < temperature != 1
    assert load_model(calibrated.model_path).temperature == temperature
    expected = with_temperature(scores_of(plain), temperature, is_tags=False)
    assert scores_of(calibrated) == pytest.approx(expected, abs=1e-12)


def test_another_temperature_is_another_model(tmp_path: Path) -> None:
    job = trained(tmp_path / "job", flights("trees", calibrate="temperature"), rows())
    digest = model_digest(job.model_path)
    (job.model_path / "calibration.json").write_text('{"temperature": 1.5}\n')
    assert model_digest(job.model_path) != digest
    with pytest.raises(DataRejected, match=r"calibration\.json has changed"):
        load_model(job.model_path, expected_digest=digest)


@pytest.mark.parametrize("kind", ["tabular", "trees"])
def test_too_few_validation_rows_refuse_before_the_training(kind: str, tmp_path: Path) -> None:
    with pytest.raises(DataRejected, match="needs 50 validation rows or more, found 40"):
        trained(tmp_path, flights(kind, calibrate="temperature"), rows(240))
    assert not (tmp_path / "history.jsonl").exists()
