"""What a run came to: the gate that said no, both numbers, and what to do next."""

import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import pytest

from cli.runs.outcome import NOT_PROMOTED_CODE, exit_code_of, fetch_outcomes, outcome_text, words_of
from ratchet.core.errors import Conflict, DataRejected, NotFound, PolicyError, SettingsError, Unavailable
from ratchet.core.ports import RunState
from ratchet.core.runs.outcome import NOT_PROMOTED, Ended, Outcome, RunFailure, decide_outcome
from ratchet.core.verdict import Reason, Verdict
from ratchet.stores.run_outcomes import RunOutcomes, failure_of
from tests.fakes.object_store import FakeObjectStore

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


@pytest.mark.parametrize(
    ("error", "is_retryable"),
    [
        pytest.param(DataRejected("bad rows"), False, id="data"),
        pytest.param(PolicyError("no such task"), False, id="policy"),
        pytest.param(SettingsError("wrong key"), False, id="settings"),
        pytest.param(Unavailable("S3 is down"), True, id="outage"),
        pytest.param(NotFound("gone"), True, id="gone"),
        pytest.param(ValueError("a fault of ours"), True, id="unplanned"),
    ],
)
def test_expected_errors_say_whether_a_retry_helps(error, is_retryable):
    failure = failure_of(error, step="s", code_digest=lambda: "d")
    assert (failure.is_retryable, failure.code_digest) == (is_retryable, "" if is_retryable else "d")


@pytest.fixture(autouse=True)
def own_hook(monkeypatch):
    """A step that fails sets how its process ends."""
    monkeypatch.setattr(sys, "excepthook", sys.__excepthook__)


def test_a_step_that_fails_is_known_until_it_starts_again():
    outcomes = RunOutcomes(FakeObjectStore(), "ratchet")
    with pytest.raises(Unavailable), outcomes.step("finetune", run_id="run-1"):
        raise Unavailable("S3 is away")
    assert outcomes.put_outcome(ended("FAILED")).summary == "finetune: S3 is away"
    with outcomes.step("finetune", run_id="run-1"):
        pass
    assert outcomes.put_outcome(ended("FAILED")).failure is None
    assert outcomes.fetch_outcome("run-1") is not None
    assert outcomes.fetch_outcome("run-2") is None


def fail(outcomes, error, **options):
    """What comes of a step that raises `error` when it runs; whether it ran."""
    ran = []
    with pytest.raises(type(error)) as raised, outcomes.step("finetune", run_id="run-1", **options):
        ran.append(1)
        raise error
    return str(raised.value), bool(ran)


def test_a_repeated_step_ends_at_once_with_the_verdict_of_the_first_attempt_until_the_run_has_ended():
    """KFP repeats every exit code; a person who retries a run that has ended has changed something."""
    outcomes = RunOutcomes(FakeObjectStore(), "ratchet")
    assert fail(outcomes, DataRejected("no rows")) == ("no rows", True)
    for _ in range(3):
        assert fail(outcomes, DataRejected("would be another")) == ("no rows", False)
    for number in range(2):
        outcomes.put_outcome(ended("FAILED").model_copy(update={"at": NOON + timedelta(hours=number)}))
        assert fail(outcomes, DataRejected(f"still {number}")) == (f"still {number}", True)
        assert fail(outcomes, DataRejected("no")) == (f"still {number}", False)


@pytest.mark.parametrize(
    ("error", "options"),
    [
        pytest.param(Unavailable("S3 is away"), {}, id="an-outage"),
        pytest.param(Conflict("another was first"), {}, id="a-lost-race"),
        pytest.param(DataRejected("bad"), {"is_run_recorded": False}, id="nobody-records-how-the-run-ends"),
    ],
)
def test_any_other_failure_is_tried_again(error, options):
    outcomes = RunOutcomes(FakeObjectStore(), "ratchet")
    for _ in range(2):
        assert fail(outcomes, error, **options)[1]


@pytest.mark.parametrize(
    ("raised", "code"),
    [
        ("errors.DataRejected('x')", 3),
        ("errors.SettingsError('x')", 5),
        ("errors.Unavailable('x')", 8),
        ("KeyError('x')", 4),
    ],
    ids=["data", "settings", "outage", "the-users-code"],
)
def test_a_step_ends_its_process_with_the_exit_code_of_its_error(raised, code):
    script = (
        "from ratchet.stores.run_outcomes import RunOutcomes; from ratchet.core import errors;"
        "from tests.fakes.object_store import FakeObjectStore\n"
        f"with RunOutcomes(FakeObjectStore(), 'ratchet').step('s', run_id='r'):\n    raise {raised}"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == code, done.stderr
    assert "Traceback" in done.stderr


def test_a_verdict_that_cannot_be_written_stops_no_step(tmp_path):
    class Away(FakeObjectStore):
        def put(self, *args, **kwargs):
            raise Unavailable("away")

        delete = put

    path = tmp_path / "verdict.json"
    path.write_text(verdict("evaluate", "refused").model_dump_json())
    with RunOutcomes(Away(), "ratchet").step("evaluate", run_id="run-1") as told:
        told.verdict(str(path))


def test_gates_of_one_run_are_told_apart_from_those_of_a_run_with_a_longer_id(tmp_path):
    outcomes = RunOutcomes(FakeObjectStore(), "ratchet")
    outcomes.put_verdict("run-11", verdict("validate", "refused"))
    assert outcomes.put_outcome(ended()).name == "done"


@pytest.mark.parametrize(
    ("state", "name", "words", "code"),
    [
        ("SUCCEEDED", "promoted", "promoted", 0),
        ("SUCCEEDED", "refused_model", "refused model", NOT_PROMOTED_CODE),
        ("SUCCEEDED", None, "", 0),
        ("FAILED", "failed", "failed", 1),
        ("FAILED", None, "failed", 1),
        ("CANCELED", "canceled", "canceled", 1),
        ("SUCCEEDED", "superseded", "superseded", 0),
        ("RUNNING", None, "running", 1),
    ],
)
def test_the_table_and_the_exit_code_say_what_came_of_it(state, name, words, code):
    run = RunState(run_id="run-1", name="r", state=state)
    outcome = None
    if name:
        outcome = Outcome.model_validate({**ended().model_dump(), "name": name, "summary": "why"})
    assert (words_of(run, outcome), exit_code_of(run, outcome)) == (words, code)


def test_outcomes_of_a_page_are_one_read_a_run_that_has_ended():
    objects = FakeObjectStore()
    outcomes = RunOutcomes(objects, "ratchet")
    runs = [RunState(run_id=f"run-{number}", name="r", state="SUCCEEDED") for number in range(3)]
    outcomes.put_outcome(ended())
    asked: list[str] = []
    fetch = objects.fetch
    objects.fetch = lambda uri: asked.append(uri) or fetch(uri)  # type: ignore[func-returns-value,method-assign]
    found = fetch_outcomes(outcomes, [*runs, RunState(run_id="run-9", name="r", state="RUNNING")])
    assert list(found) == ["run-1"]
    assert len(asked) == 3


def test_an_outcome_that_is_no_outcome_hides_no_run():
    objects = FakeObjectStore()
    objects.put("s3://ratchet/outcomes/run-1/outcome.json", json.dumps({"name": "?"}).encode())
    assert RunOutcomes(objects, "ratchet").fetch_outcome("run-1") is None
