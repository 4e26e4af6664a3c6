"""What the model card says, all of it from the gate's verdict and the dataset version."""

import pytest

from components.register.card import CardFacts, render_model_card
from ratchet.core.verdict import Reason, Verdict
from tests.components.test_verify import MANIFEST
from tests.models import DIGITS

REASONS = (
    Reason(check="test_rows", value=400, limit=100, passed=True, text="400 test rows; 100 are needed"),
    Reason(check="accuracy", value=0.9, limit=0.5, passed=True, text="challenger is right on 90.0%"),
    Reason(check="slice:7", value=-0.1, limit=-0.05, passed=True, text="class 7: -10.0% on 40 rows"),
    Reason(check="found_slices", value=1, limit=None, passed=True, text="1 part of the test rows found"),
    Reason(check="found_slice:x > 3", value=-0.02, limit=-0.05, passed=True, text="where x > 3: -3.0% on 50 rows"),
)
VERDICT = Verdict(kind="evaluate", verdict="passed", reasons=REASONS)
METRICS = {"test_accuracy": 0.9, "test_loss": 0.31, "test_unseen_carrier": 4.0}
TAGS = {
    "digest": "d" * 64,
    "git_commit": "c" * 40,
    "seed": "7",
    "num_threads": "2",
    "world_size": "1",
    "run_id": "run-1",
}


def sections_of(card: str) -> dict[str, str]:
    return {part.split("\n", 1)[0]: part.split("\n", 1)[1] for part in card.split("## ")[1:]}


@pytest.fixture
def sections() -> dict[str, str]:
    return sections_of(render_model_card(DIGITS, CardFacts(VERDICT, METRICS, TAGS, MANIFEST, is_signed=True)))


@pytest.mark.parametrize(
    ("section", "said"),
    [
        pytest.param("Data", "dataset version digits/v1: 4 labels", id="data"),
        pytest.param("Data", "- train: 4 rows", id="splits"),
        pytest.param("Data", "by label: 0 4", id="labels"),
        pytest.param("How good", "test_accuracy: 0.9000 (95 %: 0.8667 to 0.9257, 400 test rows)", id="bounds"),
        pytest.param("How good", "test_loss: 0.3100\n", id="no-bounds-for-what-is-no-share"),
        pytest.param("Why it may serve: passed", "held: challenger is right on 90.0%", id="checks"),
        pytest.param("Parts of the data", "held: class 7: -10.0% on 40 rows", id="slices"),
        pytest.param("Known failures", "where x > 3: -3.0% on 50 rows", id="found-parts"),
        pytest.param("Known failures", "4 test rows have a category of `carrier`", id="unseen"),
        pytest.param("How to reproduce it", "`ratchet models reproduce digits/dddddddddddd`", id="reproduce"),
        pytest.param("How to reproduce it", "`ratchet models verify digits/dddddddddddd`", id="verify"),
        pytest.param("How to reproduce it", "seed 7, workers 1, threads 2", id="seed"),
        pytest.param("Where it came from", "- seed: 7", id="lineage"),
    ],
)
def test_the_card_says_it_in_its_section(sections: dict[str, str], section: str, said: str) -> None:
    assert said in sections[section], sections[section]


def test_a_part_is_in_one_section_and_no_failure_is_said_to_be_none() -> None:
    plain = CardFacts(Verdict(kind="evaluate", verdict="passed", reasons=REASONS[:2]), {}, {})
    sections = sections_of(render_model_card(DIGITS, plain))
    assert sections["Known failures"].strip() == "- none known"
    assert "dataset version unknown" in sections["Data"]
    assert "verify" not in sections["How to reproduce it"], "it is not signed"
