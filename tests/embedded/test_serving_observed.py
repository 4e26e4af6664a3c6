"""When a client may take a status for the answer to its spec."""

import pytest

from ratchet.adapters.kserve import state_of


@pytest.mark.parametrize(
    ("generation", "status", "is_observed"),
    [
        pytest.param(3, {"observedGeneration": 3}, True, id="seen"),
        pytest.param(3, {"observedGeneration": 2}, False, id="older-than-the-spec"),
        pytest.param(1, {}, False, id="nobody-has-looked-yet"),
        pytest.param(None, {}, False, id="no-status-and-no-number"),
        pytest.param(3, {"url": "http://m"}, True, id="a-server-that-numbers-nothing-is-believed"),
        pytest.param(None, {"observedGeneration": 1}, True, id="an-object-without-a-generation"),
    ],
)
def test_a_status_counts_once_it_has_seen_the_latest_spec(generation, status, is_observed):
    metadata = {"name": "m"} if generation is None else {"name": "m", "generation": generation}
    state = state_of({"metadata": metadata, "spec": {"predictor": {}}, "status": status})
    assert state.is_observed is is_observed
