"""drift_monitor: real digits in production, shifted or not, right or wrong."""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from components.drift_monitor.step import Paths, Policies, Stores, drift_monitor_step
from ratchet.actions.labels import drift_report
from ratchet.core.labels.drift import DriftPolicy
from ratchet.core.models.ledger import LedgerEntry, ModelRef
from ratchet.core.pages import CutPage
from ratchet.core.rollout.monitor import MonitorPolicy
from ratchet.core.rollout.payloads import Feedback, Prediction
from ratchet.core.runs.signals import Signal
from ratchet.core.verdict import Verdict
from ratchet.stores.drift_records import DriftRecords
from ratchet.stores.page_libraries import PageLibraries
from ratchet.stores.signals import Signals
from ratchet.stores.sketches import Sketches
from tests.components.data import NOON, SPEC, Room, digit_labels, digits
from tests.fakes.ledger import FakeLedger
from tests.fakes.payload_log import FakeFeedbackStore, FakePayloadLog
from tests.fakes.registry import FakeRegistry
from tests.models import changed

POLICY_DIR = Path("configs/policies")
POLICIES = Policies(
    DriftPolicy.model_validate(yaml.safe_load((POLICY_DIR / "drift.yaml").read_text())),
    MonitorPolicy.model_validate(yaml.safe_load((POLICY_DIR / "monitor.yaml").read_text())),
)
CHAMPION = ModelRef(version="1", digest="d1", uri="s3://models/digits/d1", dataset_version="digits/v1")


_drawn: list[CutPage] = []


@pytest.fixture(autouse=True)
def drawn_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Evidently's part of a page takes 2 s of CPU time; what it draws is for the tests of drift_check."""
    draw = drift_report.cut_evidently

    def draw_once(*args: Any, **names: Any) -> CutPage:
        _drawn[:] = _drawn or [draw(*args, **names)]
        return _drawn[0]

    monkeypatch.setattr(drift_report, "cut_evidently", draw_once)


class Production:
    """A champion that learned from the even digits, and what it was asked since."""

    def __init__(self, folder: Path) -> None:
        self.room = Room(folder)
        self.room.push(digit_labels(range(0, 1600, 2)))
        self.room.ingest()
        self.payloads, self.feedback, self.registry = FakePayloadLog(), FakeFeedbackStore(), FakeRegistry()
        self.registry.register("digits", CHAMPION.uri, tags={}, metrics={"test_accuracy": 0.95})
        self.ledger = FakeLedger()
        self.promote()

    def promote(self) -> None:
        entry = LedgerEntry(
            seq=1, task="digits", kind="promoted", model=CHAMPION, champion=CHAMPION, reason="", run_id="", at=NOON
        )
        self.ledger.append(entry)

    def ask(self, rows: range, *, digest: str = "d1", brighter: float = 0.0, hours_ago: float = 1) -> None:
        features_NF, labels_N = digits()
        for row in rows:
            self.payloads.predictions.append(
                Prediction(
                    request_id=f"r{row}",
                    at=NOON - timedelta(hours=hours_ago),
                    model_digest=digest,
                    latency_ms=1,
                    features=(tuple(min(16.0, value + brighter) for value in features_NF[row]),),
                    labels=(str(labels_N[row]),),
                    probabilities=(0.9,),
                )
            )

    def tell(self, rows: range, *, num_wrong: int = 0) -> None:
        """The true labels; the champion erred on the first `num_wrong` of them."""
        _, labels_N = digits()
        self.feedback.append(
            "digits",
            [
                Feedback(request_id=f"r{row}", label=str((labels_N[row] + (place < num_wrong)) % 10), at=NOON)
                for place, row in enumerate(rows)
            ],
        )

    def look(self, objects: Any = None) -> tuple[Verdict, dict[str, Signal], str]:
        """objects: the store in the room, unless a test puts something before it."""
        objects = objects or self.room.objects
        stores = Stores(
            self.payloads,
            self.feedback,
            self.room.datasets,
            self.ledger,
            self.registry,
            objects,
            PageLibraries(objects, "ratchet"),
            Signals(objects, "ratchet"),
            DriftRecords(objects, "ratchet"),
            Sketches(objects, "ratchet"),
        )
        paths = Paths(self.room.path("report.html"), self.room.path("verdict.json"))
        name = drift_monitor_step(SPEC, policies=POLICIES, stores=stores, now=NOON, paths=paths)
        verdict = Verdict.model_validate_json(Path(paths.verdict).read_bytes())
        assert verdict.verdict == name
        signals = Signals(self.room.objects, "ratchet").fetch("digits")
        return verdict, {signal.kind: signal for signal in signals}, Path(paths.report).read_text()


@pytest.fixture
def production(tmp_path: Path) -> Production:
    return Production(tmp_path)


@pytest.mark.parametrize(
    ("ask", "said"),
    [
        pytest.param(lambda world: None, "0 new examples", id="nobody-asks"),
        pytest.param(lambda world: world.ask(range(1, 80, 2)), "40 new examples", id="few-ask"),
        pytest.param(lambda world: world.ask(range(400), hours_ago=25), "0 new examples", id="long-ago"),
        pytest.param(lambda world: world.ask(range(400), digest="d0"), "0 new examples", id="another-model"),
        pytest.param(lambda world: [world.ask(range(1, 80, 2)) for _ in range(9)], "40 new", id="logged-twice"),
    ],
)
def test_too_few_requests_are_no_news_and_no_failure(
    production: Production, ask: Callable[[Production], None], said: str
) -> None:
    ask(production)
    verdict, signals, report = production.look()
    assert verdict.verdict == "too_few" and said in verdict.summary(), verdict.summary()
    assert "drift" not in signals and not signals["serving_quality"].is_bad
    assert "Evidently" not in report and "too few" in report


def test_the_same_kind_of_digits_is_stable(production: Production) -> None:
    production.ask(range(1, 1600, 2))
    verdict, signals, report = production.look()
    assert verdict.verdict == "stable", verdict.summary()
    assert (signals["drift"].is_bad, signals["drift"].at) == (False, NOON)
    assert verdict.inputs["num_incoming"] == 800 and "Evidently" in report


def test_a_champion_of_other_features_and_classes_than_the_task_file_is_still_monitored(
    production: Production, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The task file went on: 63 features, and no nines. What serves was asked 64, and answers nines."""
    features = SPEC.features.model_copy(update={"num_features": 63})
    later = changed(SPEC, {"features": features, "classes": tuple("012345678")})
    monkeypatch.setattr("tests.components.test_drift_monitor.SPEC", later)
    production.ask(range(1, 1600, 2))
    verdict, _, _ = production.look()
    assert verdict.verdict == "stable", verdict.summary()
    assert verdict.inputs["num_reference"] == 800


def test_brighter_pictures_in_production_are_drift(production: Production) -> None:
    production.ask(range(1, 1600, 4), brighter=6)
    verdict, signals, _ = production.look()
    assert verdict.verdict == "drifted"
    assert signals["drift"].is_bad and signals["drift"].value > signals["drift"].limit
    assert "shifts by" in signals["drift"].text


@pytest.mark.parametrize(
    ("num_told", "num_wrong", "is_bad", "said"),
    [
        pytest.param(29, 29, False, "too few to compare; 30 are needed", id="too-few-to-accuse"),
        pytest.param(200, 60, True, "right on 140 of 200", id="worse-for-certain"),
    ],
)
def test_delayed_labels_judge_the_champion(
    production: Production, num_told: int, num_wrong: int, is_bad: bool, said: str
) -> None:
    production.ask(range(1, 1601, 8))
    production.tell(range(1, 1 + 8 * num_told, 8), num_wrong=num_wrong)
    verdict, signals, _ = production.look()
    quality = signals["serving_quality"]
    assert quality.is_bad == is_bad and said in quality.text, quality.text
    assert (verdict.verdict, verdict.reasons[-1].passed) == ("stable", not is_bad), "drift is another question"


def test_without_a_champion_there_is_nothing_to_say(production: Production) -> None:
    production.ledger = FakeLedger()
    production.ask(range(400))
    verdict, signals, report = production.look()
    assert (verdict.verdict, signals) == ("too_few", {})
    assert "no champion serves" in report


def test_a_champion_whose_evaluation_nobody_knows_is_not_accused(production: Production) -> None:
    production.registry = FakeRegistry()
    production.ask(range(1, 81, 2))
    production.tell(range(1, 81, 2), num_wrong=40)
    _, signals, _ = production.look()
    assert not signals["serving_quality"].is_bad and "is unknown" in signals["serving_quality"].text


@pytest.mark.parametrize(
    ("num_known", "num_wrong", "said"),
    [
        pytest.param(0, 0, "the model expects an accuracy of 90.0%", id="no-label"),
        pytest.param(200, 5, "195 of 200 answers with a true label are right", id="few-errors"),
        pytest.param(200, 40, "of 200 true labels and the probabilities of 400 answers", id="both"),
    ],
)
def test_how_right_the_champion_is_stands_in_the_verdict_and_in_the_record(
    production: Production, num_known: int, num_wrong: int, said: str
) -> None:
    production.ask(range(1, 800, 2))
    production.tell(range(1, 2 * num_known, 2), num_wrong=num_wrong)
    verdict, _, _ = production.look()
    (told,) = [reason for reason in verdict.reasons if reason.check == "estimated_accuracy"]
    record = DriftRecords(production.room.objects, "ratchet").fetch("digits", "drift_monitor")
    assert said in told.text and told.passed
    assert record is not None and record.estimate == told.text
