"""What the command line says of how runs ended."""

import pytest

from cli.runs.outcome import NOT_PROMOTED_CODE, exit_code_of, fetch_outcomes, words_of
from ratchet.core.ports import RunState
from ratchet.core.runs.outcome import Outcome
from ratchet.stores.run_outcomes import RunOutcomes
from tests.fakes.object_store import FakeObjectStore
from tests.unit.core.runs.test_outcome import ended


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
