"""The page of an evaluation: what it shows is what the rows say, all text is escaped, and nothing asks a network."""

import re
from dataclasses import replace
from xml.etree import ElementTree

import numpy as np
import pyarrow as pa
import pytest

from ratchet.core.labels.answers import answers_of
from ratchet.core.labels.erasure import page_without
from ratchet.core.labels.schema import CategoryOutput, NumberOutput, OutputSpec, TagsOutput
from ratchet.core.models.cases import CaseAnswers, PinnedCase
from ratchet.core.models.gate import GateRows, judge
from ratchet.core.models.page.parts import JudgedRows, render_parts
from ratchet.core.models.page.shown import (
    confusion_of,
    flips_of,
    intervals_of,
    precision_recall_of,
    regrets_of,
    roc_of,
)
from ratchet.core.models.serving_budget import ServingEvidence
from ratchet.core.models.slices.columns import SliceColumn, age_column
from ratchet.core.reports import render_verdict
from tests.unit.core.models.test_evaluation import POLICY

NUM = 400
CATEGORY = CategoryOutput(type="category", classes=("no", "<yes>"))
NUMBER = NumberOutput(type="number")
TAGS = TagsOutput(type="tags", classes=("a", "b"))
RANDOM = np.random.default_rng(7)


def scores_of(output: OutputSpec, targets: np.ndarray, *, noise: float) -> np.ndarray:
    random = np.random.default_rng(int(noise * 100))
    if isinstance(output, NumberOutput):
        return targets + noise * random.normal(size=NUM)
    if isinstance(output, TagsOutput):
        return np.clip(0.8 * targets + 0.1 + noise * random.normal(size=targets.shape), 0, 1)
    yes = np.clip(0.7 * targets + 0.15 + noise * random.normal(size=NUM), 0, 1)
    return np.stack([1 - yes, yes], axis=1)


def judged_of(output: OutputSpec, *, has_champion: bool = True) -> tuple[JudgedRows, str]:
    targets = {
        "category": RANDOM.integers(0, 2, NUM),
        "number": RANDOM.normal(size=NUM),
        "tags": RANDOM.integers(0, 2, (NUM, 2)).astype(np.float64),
    }[output.type]
    challenger, champion = (answers_of(scores_of(output, targets, noise=each), output) for each in (0.3, 0.2))
    case = PinnedCase("case-1", {"id": "pinned-7", "label": "no"}, "Monday's <complaint>")
    rows = GateRows(
        output=output,
        metric={"category": "accuracy", "number": "rmse", "tags": "tags_f1"}[output.type],
        targets=targets,
        challenger=challenger,
        champion=champion if has_champion else None,
        served=challenger.labels.to_pylist(),
        champion_classes=() if isinstance(output, NumberOutput) else output.classes,
        training_mean=0.0,
        columns=[SliceColumn(('kind is "x"', 'kind is "y"'), (np.arange(NUM) % 2).astype(np.int32))],
        cases=CaseAnswers(["case-1"], np.array([False]), np.array([True]) if has_champion else None),
    )
    inputs = pa.table({"text": [f"<b>text {row}</b>" for row in range(NUM)]})
    judged = JudgedRows(rows, [f"row-{row}" for row in range(NUM)], inputs, [case], POLICY)
    verdict = judge(rows, policy=POLICY, inputs={})
    return judged, render_verdict(verdict, title="t", sections=render_parts(judged, verdict))


@pytest.mark.parametrize("has_champion", [True, False], ids=["champion", "first"])
@pytest.mark.parametrize("output", [CATEGORY, NUMBER, TAGS], ids=lambda output: output.type)
def test_the_page_of_each_output_is_whole_and_asks_nobody(output, has_champion):
    _, page = judged_of(output, has_champion=has_champion)
    drawings = re.findall(r"<svg.*?</svg>", page, re.DOTALL)
    assert drawings
    for drawing in drawings:
        ElementTree.fromstring(drawing)
        assert "nan" not in drawing
    assert not re.search(r"https?://|<script|<link|src=", page)
    assert "<b>text" not in page and "<complaint>" not in page and "<yes>" not in page


def test_an_erasure_finds_the_page_by_each_id_on_it():
    judged, page = judged_of(CATEGORY)
    worst = judged.ids[regrets_of(judged.rows, num=1)[0].row]
    for example_id in (worst, "pinned-7"):
        assert page_without(page.encode(), [example_id]) is not None
    assert page_without(page.encode(), ["row-7777"]) is None


def test_the_numbers_are_those_of_the_rows():
    judged, _ = judged_of(CATEGORY)
    rows = judged.rows
    assert rows.champion is not None and rows.challenger.scores_BK is not None
    classes, counts = confusion_of(rows)
    assert classes == CATEGORY.classes and counts.sum() == NUM
    now, before = np.array(rows.challenger.texts), np.array(rows.champion.texts)
    labels = np.array(classes)[rows.targets]
    assert np.trace(counts) == (now == labels).sum()
    flips = flips_of(rows)
    assert sum(flip.num_rows for flip in flips) == (now != before).sum()
    gained = sum(flip.num_gained - flip.num_lost for flip in flips)
    assert gained == (now == labels).sum() - (before == labels).sum()
    regrets = regrets_of(rows, num=5)
    assert [each.size for each in regrets] == sorted((each.size for each in regrets), reverse=True)


def test_a_curve_goes_through_each_score_once():
    false, true, at = roc_of(np.array([1, 0, 1, 0]), np.array([0.9, 0.8, 0.8, 0.1]))
    assert list(zip(false, true, at, strict=True)) == [(0, 0, 1), (0, 0.5, 0.9), (0.5, 1, 0.8), (1, 1, 0.1)]
    assert roc_of(np.array([1, 1]), np.array([0.1, 0.2])) == ([], [], [])


def test_precision_and_recall_by_hand():
    curve = precision_recall_of(np.array([1, 0, 1, 0]), np.array([0.9, 0.8, 0.7, 0.1]))
    assert np.array(curve) == pytest.approx(np.array([(0.5, 1.0), (0.5, 0.5), (1.0, 2 / 3), (1.0, 0.5)]))
    assert precision_recall_of(np.array([1, 1]), np.array([0.9, 0.8])) == []


def test_the_page_shows_what_a_temperature_did():
    judged, _ = judged_of(CATEGORY)
    tempered = replace(judged.rows, temperature=2.0)
    page = "".join(render_parts(judged._replace(rows=tempered), judge(tempered, policy=POLICY, inputs={})).values())
    assert 'class="untempered"' in page and "without its temperature of 2" in page
    assert "precision" in page


def test_a_class_is_drawn_with_the_bounds_that_judge_it():
    judged, _ = judged_of(CATEGORY)
    column = SliceColumn(('label is "no"', 'label is "<yes>"'), judged.rows.targets.astype(np.int32))
    rows = replace(judged.rows, columns=[column])
    verdict = judge(rows, policy=POLICY, inputs={})
    (reason,) = (each for each in verdict.reasons if each.check == "slice:no")
    drawn, *_ = (  # the class; a part that was found may have the same name
        each
        for each in intervals_of(rows, verdict, confidence=POLICY.confidence)
        if each.name.startswith('label is "no"')
    )
    assert drawn.high == reason.value


@pytest.mark.parametrize("output", [CATEGORY, NUMBER, TAGS], ids=["category", "number", "tags"])
@pytest.mark.parametrize("limit", [pytest.param(0.001, id="refused"), pytest.param(1.0, id="borne")])
def test_what_was_forgotten_is_drawn_with_the_bound_that_judges_it(output, limit):
    judged, _ = judged_of(output)
    rows = replace(judged.rows, columns=[age_column(np.arange(NUM) < 300)])
    if not isinstance(output, NumberOutput):  # the first 100 answers become wrong
        assert rows.champion is not None
        scores = np.array(rows.champion.scores_BK)
        scores[:100] = 1 - scores[:100]
        rows = replace(rows, challenger=answers_of(scores, output))
    policy = POLICY.model_copy(update={"slice_loss_max": limit})
    verdict = judge(rows, policy=policy, inputs={})
    (reason,) = (each for each in verdict.reasons if each.check == "forgetting")
    drawn = [
        each
        for each in intervals_of(rows, verdict, confidence=policy.confidence)
        if each.name == "the example was in the champion's data (300)"
    ]
    assert (reason.value, not reason.passed) in [(each.high, each.is_bad) for each in drawn], reason.text
    assert reason.passed is (limit == 1.0)


def test_the_page_shows_each_look_at_the_model_server():
    judged, _ = judged_of(CATEGORY, has_champion=False)
    verdict = judge(judged.rows, policy=POLICY, inputs={})
    assert "server" not in render_parts(judged, verdict)
    seen = ServingEvidence(loads_s=[9.0, 6.5], looks_ms=[[2.0] * 90 + [80.0] * 10, [3.0] * 100], problem="<late>")
    page = render_parts(judged._replace(rows=replace(judged.rows, serving=seen)), verdict)["server"]
    assert "Ready after 9.0 s, 6.5 s; memory is not known." in page
    assert "<td>100</td><td>2.0</td><td>80.0</td><td>80.0</td><td>80.0</td>" in page
    assert "&lt;late&gt;" in page
