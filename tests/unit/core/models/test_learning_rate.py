import pytest
from hypothesis import given
from hypothesis import strategies as st

from ratchet.core.models.learning_rate import rate_share


@given(st.integers(1, 300), st.floats(0, 0.5), st.sampled_from(["constant", "cosine"]))
def test_the_rate_rises_then_never_rises_again_and_is_never_0(num_steps, warmup_share, schedule):
    shares = [
        rate_share(step, num_steps=num_steps, schedule=schedule, warmup_share=warmup_share) for step in range(num_steps)
    ]
    top = shares.index(max(shares))
    assert all(0 < share <= 1 for share in shares)
    assert shares[: top + 1] == sorted(shares[: top + 1]) and shares[top:] == sorted(shares[top:], reverse=True)
    assert top <= warmup_share * num_steps + 1


@pytest.mark.parametrize(
    ("schedule", "shares"),
    [
        pytest.param("constant", [1 / 3, 2 / 3, 1, 1, 1, 1], id="constant"),
        pytest.param("cosine", [1 / 3, 2 / 3, 1, 0.9045, 0.6545, 0.3455], id="cosine"),
    ],
)
def test_rates_of_six_steps_after_two_of_warm_up(schedule, shares):
    told = [rate_share(step, num_steps=6, schedule=schedule, warmup_share=0.3) for step in range(6)]
    assert told == pytest.approx(shares, abs=1e-4)
