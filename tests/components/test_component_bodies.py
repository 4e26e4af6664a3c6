"""What the body of a component does beside its step: its verdict, or why it failed, is kept with the run."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from components.canary_deploy.component import canary_deploy
from components.drift_check.component import drift_check
from components.evaluate.component import evaluate
from components.finetune.component import finetune
from components.ingest.component import ingest
from components.register.component import register
from components.rollback.component import rollback
from components.validate.component import validate
from ratchet.core.errors import PolicyError
from ratchet.core.labels.dataset import Manifest
from ratchet.core.runs.outcome import Ended, Outcome
from ratchet.core.verdict import Reason, Verdict
from ratchet.stores.run_outcomes import RunOutcomes
from tests.fakes.object_store import FakeObjectStore
from tests.fakes.registry import FakeRegistry
from tests.wired import wire

NO = Reason(check="accuracy", value=0.7, limit=0.8, passed=False, text="right on 70.0 %; the floor is 80.0 %")
PORTS = (
    "label_store",
    "dataset_store",
    "ledger",
    "model_probe",
    "run_journal",
    "rollout_ports",
    "model_files",
    "judgements",
)
NAMES = (
    "incoming",
    "reference",
    "manifest",
    "rejected",
    "report",
    "verdict",
    "model",
    "metrics",
    "training_log",
    "classification",
    "curves",
)
WORDS = {"run_id": "run-1", "task": "digits", "run_key": "k", "run_name": "n", "version": "digits/v1", "reason": "r"}
MODEL = {"model_version": "7", "model_digest": "d", "model_uri": "u", "dataset_version": "digits/v1"}


class Artifact(SimpleNamespace):
    def log_metric(self, name: str, value: float) -> None:
        self.metadata[name] = value


class Run:
    """One run: its files, and what was kept of it."""

    def __init__(self, folder: Path) -> None:
        self.outcomes, self.registry = RunOutcomes(FakeObjectStore(), "ratchet"), FakeRegistry()
        self.artifacts = {name: Artifact(path=str(folder / name), metadata={}) for name in NAMES}
        manifest = Manifest(
            version="digits/v1", parent="", num_labels=0, num_labels_by_class={}, watermark="", shards=()
        )
        Path(self.artifacts["manifest"].path).write_text(manifest.model_dump_json())
        self.verdict_path = Path(self.artifacts["verdict"].path)

    def call(self, component) -> object:
        body = component.python_func
        given = {**self.artifacts, **WORDS, **MODEL}
        return body(**{name: given[name] for name in body.__annotations__ if name != "return"})

    def end(self, state: str) -> Outcome:
        return self.outcomes.put_outcome(
            Ended.model_validate(
                {
                    "task": "digits",
                    "run_key": "k",
                    "run_id": "run-1",
                    "state": state,
                    "error": "",
                    "closed": "",
                    "at": "2026-05-04T12:00:00Z",
                }
            )
        )


@pytest.fixture
def run(tmp_path, monkeypatch) -> Run:
    made = Run(tmp_path)
    wire(
        monkeypatch,
        run_outcomes=lambda: made.outcomes,
        object_store=lambda: made.outcomes.objects,
        registry=lambda: made.registry,
        learner=lambda *_: None,
    )
    for name in PORTS:
        wire(monkeypatch, **{name: lambda: None})
    return made


def refusal(kind: str, word: str) -> Verdict:
    return Verdict(kind=kind, verdict=word, reasons=(NO,), inputs={"dataset_version": "digits/v1"})


@pytest.mark.parametrize(
    ("component", "name"),
    [
        (ingest, "ingest.fence.fenced_ingest"),
        (validate, "validate.step.validate_step"),
        (drift_check, "drift_check.step.drift_check_step"),
        (finetune, "finetune.step.finetune_step"),
        (evaluate, "evaluate.step.evaluate_step"),
        (canary_deploy, "canary_deploy.step.canary_deploy_step"),
        (rollback, "rollback.step.rollback_step"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_step_that_fails_leaves_its_error_with_the_run(run, monkeypatch, component, name):
    def fail(*args, **kwargs):
        raise PolicyError("NameError: name 'foo' is not defined (/w/t.py, line 3, in loss)")

    monkeypatch.setattr(f"components.{name}", fail)
    with pytest.raises(PolicyError):
        run.call(component)
    told = run.end("FAILED")
    assert told.failure is not None and not told.failure.is_retryable
    assert told.summary.startswith(f"{name.partition('.')[0]}: NameError: name 'foo'")


def test_register_that_fails_leaves_its_error_with_the_run(run):
    run.verdict_path.write_text("no verdict")
    with pytest.raises(ValueError, match="Invalid JSON"):
        run.call(register)
    told = run.end("FAILED")
    assert told.summary.startswith("register: ValidationError")
    assert told.failure is not None and told.failure.is_retryable, "a fault of ours may pass"


def test_labels_that_were_refused_are_the_outcome(run, monkeypatch):
    def step(*args, **kwargs):
        run.verdict_path.write_text(refusal("validate", "refused").model_dump_json())
        return "refused"

    monkeypatch.setattr("components.validate.step.validate_step", step)
    assert run.call(validate) == ("refused",)
    assert (run.end("SUCCEEDED").name, run.end("SUCCEEDED").summary) == ("refused_labels", NO.text)


def test_a_challenger_that_was_refused_is_the_outcome_and_in_the_registry(run, monkeypatch):
    judged = refusal("evaluate", "refused")
    monkeypatch.setattr(
        "components.evaluate.step.evaluate_step", lambda *args, **kwargs: (judged, {"test_accuracy": 0.7})
    )
    assert run.call(evaluate) == ("refused",)
    assert run.end("SUCCEEDED").name == "refused_model"
    assert run.registry.refused["run-1"][1] == {"test_accuracy": 0.7}


def test_a_rollout_is_the_outcome(run, monkeypatch):
    def step(*args, **kwargs):
        kwargs["verdict_path"].write_text(refusal("rollout", "no_traffic").model_dump_json())
        return "no_traffic"

    monkeypatch.setattr("components.canary_deploy.step.canary_deploy_step", step)
    assert run.call(canary_deploy) == ("no_traffic",)
    assert run.end("SUCCEEDED").name == "no_traffic"
