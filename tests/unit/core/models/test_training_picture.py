"""The page of a training: every browser shows it, whatever the numbers are."""

import re
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ratchet.core.models.training_history import EpochMetrics, thinned
from ratchet.core.models.training_picture import render_training

SVG = re.compile(r"<svg .*?</svg>", re.DOTALL)


def epoch(number: int, **numbers: float | None) -> EpochMetrics:
    return EpochMetrics.model_validate(
        {"epoch": number, "train_loss": 1 / number, "val_loss": None, "val_accuracy": None, **numbers}
    )


THREE = tuple(
    epoch(number, val_loss=loss, val_accuracy=0.9, rows_per_s=12_345.0, peak_memory_mb=300.4, wait_ratio=0.25)
    for number, loss in ((1, 0.7), (2, 0.4), (3, 0.5))
)


def page(history: tuple[EpochMetrics, ...], **more: object) -> str:
    given = {"title": "Training of digits", "unit": "epoch", "facts": {}, "environment": {}, **more}
    return render_training(history, **given)  # type: ignore[arg-type]


def numbers_of(svg: str) -> list[float]:
    """Coordinates of all that is drawn."""
    tree = ElementTree.fromstring(svg)
    names = ("x1", "x2", "y1", "y2", "cx", "cy")
    found = [float(node.attrib[name]) for node in tree.iter() for name in names if name in node.attrib]
    for node in tree.iter("polyline"):
        found += [float(each) for each in re.split("[ ,]", node.attrib["points"])]
    return found


def test_both_losses_the_rate_and_the_epochs_are_there() -> None:
    shown = page(THREE, facts={"rows": "7 < 9"}, environment={"torch": "2.13.0"})
    assert [re.search(r'aria-label="([^"]+)"', each)[1] for each in SVG.findall(shown)] == [  # type: ignore[index]
        "Loss by epoch",
        "Accuracy on the validation rows by epoch",
        "Training rows per second by epoch",
    ]
    assert SVG.findall(shown)[0].count("<polyline") == 2
    for text in (
        "3 epochs; the last training loss is 0.3333, on the validation rows 0.5.",
        "The model has the weights of epoch 2, where the validation loss is lowest: 0.4.",
        "<td>rows</td><td>7 &lt; 9</td>",
        "<td>torch</td><td>2.13.0</td>",
        '<td class="number">12,345</td><td class="number">300</td><td class="number">25.0%</td>',
    ):
        assert text in shown


def test_it_needs_no_script_and_no_network_and_is_readable_in_the_dark() -> None:
    shown = page(THREE)
    assert not re.search(r"<script|<link|<img|https?://|url\(", shown)
    assert "prefers-color-scheme: dark" in shown and "color-scheme: light dark" in shown


@pytest.mark.parametrize(
    ("step", "words"),
    [
        pytest.param(120, "after step 120 of epoch 2", id="within"),
        pytest.param(0, "at the beginning of epoch 2", id="between"),
    ],
)
def test_where_it_went_on_from_a_checkpoint_is_marked_in_each_chart_and_said(step: int, words: str) -> None:
    resumed = (THREE[0], THREE[1].model_copy(update={"resumed_at_step": step}), THREE[2])
    shown = page(resumed)
    assert f"The training went on from a checkpoint {words}." in shown
    marks = [re.findall(r'class="mark" x1="([\d.]+)"', each) for each in SVG.findall(shown)]
    assert [len(each) for each in marks] == [1, 1, 1]
    first, second = (float(re.findall(r'cx="([\d.]+)"', SVG.findall(shown)[0])[place]) for place in (0, 1))
    assert first <= float(marks[0][0]) < second
    assert "went on from a checkpoint" not in page(THREE)


@pytest.mark.parametrize(
    ("history", "text"),
    [
        pytest.param((), "The history of this training is not recorded.", id="none"),
        pytest.param((epoch(1),), "1 epoch; the last training loss is 1; no validation rows.", id="one"),
    ],
)
def test_little_is_a_page_too(history: tuple[EpochMetrics, ...], text: str) -> None:
    assert text in page(history)
    assert len(SVG.findall(page(history))) == len(history)


def test_trees_are_counted_and_no_epoch_is_said_to_be_the_best() -> None:
    shown = page(THREE, unit="tree")
    assert "3 trees;" in shown and "Loss by tree" in shown and "the weights of" not in shown


def test_a_long_training_is_thinned_and_says_so() -> None:
    history = tuple(epoch(number) for number in range(1, 5001))
    shown = page(history)
    assert "50 of 5,000 are shown." in shown and len(shown) < 40_000
    assert numbers_of(SVG.findall(shown)[0])


@pytest.mark.parametrize(("num", "num_max", "left"), [(3, 3, 3), (4, 3, 3), (1, 3, 1), (0, 3, 0), (1001, 10, 10)])
def test_what_is_thinned_keeps_the_first_and_the_last(num: int, num_max: int, left: int) -> None:
    history = [epoch(number) for number in range(1, num + 1)]
    kept = thinned(history, num_max)
    assert [kept[0].epoch, kept[-1].epoch] == [1, num] if num else not kept
    assert len(kept) == left == len({each.epoch for each in kept})


finite = st.floats(allow_nan=False, allow_infinity=False)


@given(losses=st.lists(st.tuples(finite, st.none() | finite), min_size=1, max_size=12))
def test_whatever_is_finite_is_drawn_inside_the_picture(losses: list[tuple[float, float | None]]) -> None:
    history = tuple(
        epoch(number, train_loss=train, val_loss=val, rows_per_s=abs(train))
        for number, (train, val) in enumerate(losses, 1)
    )
    for svg in SVG.findall(page(history)):
        assert all(-0.1 <= number <= 640.1 for number in numbers_of(svg))


@given(loss=st.sampled_from([float("inf"), float("-inf"), float("nan")]))
def test_what_is_no_number_is_left_out_of_the_picture(loss: float) -> None:
    shown = SVG.findall(page((THREE[0], THREE[1].model_copy(update={"train_loss": loss}), THREE[2])))
    assert all(-0.1 <= number <= 640.1 for svg in shown for number in numbers_of(svg))
