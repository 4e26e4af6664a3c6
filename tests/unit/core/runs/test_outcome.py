"""What a run came to: the gate that said no, both numbers, and what to do next."""

from datetime import UTC, datetime

import pytest

from cli.runs.outcome import outcome_text
from ratchet.core.runs.outcome import NOT_PROMOTED, Ended, RunFailure, decide_outcome
from ratchet.core.verdict import Reason, Verdict

NOON = datetime(2026, 5, 4, 12, tzinfo=UTC)
BUG = RunFailure(step="finetune", text="NameError: name 'foo' is not defined (/w/t.py, line 3)", is_retryable=False)
DOWN = RunFailure(step="register", text="MLflow does not answer", is_retryable=True)


def ended(state: str = "SUCCEEDED", *, error: str = "") -> Ended:
    given = {"task": "digits", "run_key": "k", "run_id": "run-1", "closed": "", "at": NOON}
    return Ended.model_validate({**given, "state": state, "error": error})


def verdict(kind: str, word: str, **inputs: str) -> Verdict:
    failed = Reason(check="gain", value=0.90, limit=0.93, passed=False, text=f"{kind}: 90.0 %, limit 93.0 %")
    held = Reason(check="rows", value=99, limit=30, passed=True, text="99 rows, limit 30")
    return Verdict(kind=kind, verdict=word, reasons=(held, failed), inputs=inputs)


def verdicts(**words: str) -> dict[str, Verdict]:
    return {kind: verdict(kind, word, model_version="7") for kind, word in words.items()}


GREEN = {"validate": "accepted", "evaluate": "passed"}


@pytest.mark.parametrize(
    ("run", "said", "failure", "name", "next_step"),
    [
        pytest.param(ended(), {**GREEN, "rollout": "promoted"}, None, "promoted", "digits@champion", id="promoted"),
        pytest.param(ended(), {"validate": "refused"}, None, "refused_labels", "labels quarantine list", id="labels"),
        pytest.param(
            ended(), {**GREEN, "evaluate": "refused"}, None, "refused_model", "--task digits --again", id="model"
        ),
        pytest.param(
            ended(), {**GREEN, "rollout": "rolled_back"}, None, "rolled_back", "models allow digits/7", id="rolled-back"
        ),
        pytest.param(
            ended(), {**GREEN, "rollout": "inconclusive"}, None, "withdrawn", "--version 7", id="inconclusive"
        ),
        pytest.param(
            ended(), {**GREEN, "rollout": "no_traffic"}, None, "no_traffic", "once there are requests", id="no-traffic"
        ),
        pytest.param(ended(), {}, None, "done", "runs show run-1", id="no-verdict"),
        pytest.param(ended("SUPERSEDED"), {}, None, "superseded", "--again", id="superseded"),
        pytest.param(ended("CANCELED"), GREEN, None, "canceled", "--again", id="canceled"),
        pytest.param(ended("FAILED"), GREEN, BUG, "failed", "correct the cause", id="failed-for-good"),
        pytest.param(ended("FAILED"), GREEN, DOWN, "failed", "the sensor retries it", id="failed-for-now"),
        pytest.param(ended("FAILED", error="boom"), GREEN, None, "failed", "runs logs run-1", id="failed-in-silence"),
    ],
)
def test_every_end_has_a_name_a_reason_and_a_next_step(run, said, failure, name, next_step):
    outcome = decide_outcome(run, verdicts(**said), failure)
    assert outcome.name == name
    assert next_step in outcome.next_step
    assert outcome.summary
    if name in NOT_PROMOTED:
        assert "90.0 %, limit 93.0 %" in outcome.summary, "both numbers"
        assert "99 rows" not in outcome.summary, "what held is no reason"
        assert "limit 93.0 %" in str(outcome_text(outcome))
    if failure:
        assert outcome.summary == f"{failure.step}: {failure.text}"
