"""The contract of a model probe: the real model server, and the fake in its place."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from ratchet.adapters.model_server import LocalModelServer
from ratchet.core.ports import ModelProbe
from ratchet.tasks.model_files import load_model
from tests.fakes.model_server import FakeModelServer
from tests.models import digit_rows, digits_model

NUM_ROWS = 300
"""More than one request holds."""


@pytest.fixture(params=[FakeModelServer, LocalModelServer], ids=["fake", "real"])
def probe(request: pytest.FixtureRequest) -> ModelProbe:
    made: ModelProbe = request.param()
    return made


def test_a_started_server_answers_and_tells_what_it_takes(probe: ModelProbe, tmp_path: Path) -> None:
    digits_model(tmp_path / "model")
    inputs = pa.table({"features": [row["features"] for row in digit_rows(0, NUM_ROWS)]})
    expected = load_model(tmp_path / "model").answer(inputs)
    with probe.start(tmp_path / "model") as server:
        answers = server.fetch_answers(inputs)
        load_s = server.wait_ready()
        latencies_ms = server.fetch_latencies_ms(inputs, requests_per_s=200, num_requests=30)
        memory_mb = server.fetch_memory_mb()
        assert server.wait_ready() == load_s > 0
    assert list(answers.labels) == expected.labels.to_pylist()
    assert np.array(answers.probabilities) == pytest.approx(expected.probability_B, abs=1e-6)
    assert len(latencies_ms) == 30 and min(latencies_ms) > 0
    assert memory_mb is not None and memory_mb > 50
