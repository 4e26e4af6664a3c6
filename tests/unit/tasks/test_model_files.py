import json

import numpy as np
import pyarrow as pa
import pytest

from ratchet.core.errors import DataRejected
from ratchet.tasks.identity import model_digest
from ratchet.tasks.loading import load_task
from ratchet.tasks.model_files import load_model, save_model
from tests.models import DIGITS, digits_model


def test_a_saved_model_answers_the_same_and_keeps_its_digest(tmp_path):
    network = load_task(DIGITS).build_model().eval()
    digest = save_model(tmp_path / "model", spec=DIGITS, network=network)
    loaded = load_model(tmp_path / "model")
    features_BF = np.random.default_rng(0).uniform(0, 16, size=(5, 64))
    probabilities_BK = loaded.predict_proba(features_BF)
    assert loaded.digest == digest == model_digest(tmp_path / "model")
    assert probabilities_BK.shape == (5, 10)
    assert probabilities_BK.sum(axis=1) == pytest.approx(np.ones(5))


def test_a_model_answers_a_table_of_inputs_as_it_answers_features(tmp_path):
    digits_model(tmp_path)
    loaded = load_model(tmp_path)
    features_BF = np.random.default_rng(0).uniform(0, 16, size=(5, 64))
    answers = loaded.answer(pa.table({"features": features_BF.tolist()}).slice(1))
    probabilities_BK = loaded.predict_proba(features_BF[1:])
    assert answers.scores_BK == pytest.approx(probabilities_BK)
    assert answers.texts == [DIGITS.classes[index] for index in probabilities_BK.argmax(axis=1)]


def test_a_vector_of_another_length_is_named_by_its_row(tmp_path):
    digits_model(tmp_path)
    with pytest.raises(ValueError, match="row 1 of 2 has 3 numbers; 64 are expected"):
        load_model(tmp_path).answer(pa.table({"features": [[0.0] * 64, [0.0] * 3]}))


def test_notes_beside_the_model_do_not_change_its_identity(tmp_path):
    digest = digits_model(tmp_path)
    (tmp_path / "verdict.json").write_text("{}")
    assert model_digest(tmp_path) == digest


@pytest.mark.parametrize(
    ("name", "content"),
    [
        pytest.param("model.safetensors", b"\x80\x04\x95pickle", id="a-pickle-as-weights"),
        pytest.param("model.safetensors", b"", id="empty-weights"),
        pytest.param("task.json", b"{}", id="empty-task"),
        pytest.param("task.json", b"not json", id="no-json"),
    ],
)
def test_a_broken_file_is_refused_in_words(tmp_path, name, content):
    digits_model(tmp_path)
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataRejected, match=f"{name} has changed"):
        load_model(tmp_path)
    (tmp_path / "digests.json").unlink()
    with pytest.raises(DataRejected, match="cannot be loaded"):
        load_model(tmp_path)


def test_a_missing_file_is_named(tmp_path):
    digits_model(tmp_path)
    (tmp_path / "task.json").unlink()
    with pytest.raises(DataRejected, match=r"no task\.json"):
        load_model(tmp_path)


@pytest.mark.slow
def test_mlflow_loads_the_model_from_code(tmp_path):
    import mlflow.pyfunc

    digits_model(tmp_path)
    answers = mlflow.pyfunc.load_model(str(tmp_path)).predict(np.zeros((2, 64)))
    assert len(answers) == 2
    assert set(answers["label"]) <= set(json.loads((tmp_path / "task.json").read_text())["output"]["classes"])


@pytest.mark.slow
def test_mlflow_refuses_a_model_that_was_changed(tmp_path):
    import mlflow.pyfunc

    digest = digits_model(tmp_path)
    path = tmp_path / "code" / "ratchet" / "tasks" / "digits.py"
    path.write_text(path.read_text() + "# edited\n")
    with pytest.raises(DataRejected, match=f"{digest[:12]} was expected.*digits.py has changed"):
        mlflow.pyfunc.load_model(str(tmp_path))


def test_a_folder_with_weights_and_trees_is_no_model(tmp_path):
    digits_model(tmp_path)
    (tmp_path / "model.txt").write_text("tree")
    with pytest.raises(DataRejected, match=r"model\.safetensors and model\.txt are in it; a model has one of them"):
        model_digest(tmp_path)


def test_what_was_learned_of_the_rows_is_part_of_the_models_identity(tmp_path):
    digits_model(tmp_path)
    before = model_digest(tmp_path)
    (tmp_path / "state.json").write_text("{}")
    assert model_digest(tmp_path) != before
    with pytest.raises(DataRejected, match=r"state\.json was added"):
        load_model(tmp_path)
