"""What a run's steps and its end leave behind: a failure is known, a repeated step ends at once."""

import json
import subprocess
import sys
from datetime import timedelta

import pytest

from ratchet.core.errors import Conflict, DataRejected, NotFound, PolicyError, SettingsError, Unavailable
from ratchet.stores.run_outcomes import RunOutcomes, failure_of
from tests.fakes.object_store import FakeObjectStore
from tests.unit.core.runs.test_outcome import NOON, ended, verdict


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


@pytest.mark.slow
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


def test_an_outcome_that_is_no_outcome_hides_no_run():
    objects = FakeObjectStore()
    objects.put("s3://ratchet/outcomes/run-1/outcome.json", json.dumps({"name": "?"}).encode())
    assert RunOutcomes(objects, "ratchet").fetch_outcome("run-1") is None
