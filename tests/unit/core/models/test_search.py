"""Which trials of a search go on, which one wins, and what a search costs at most."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from ratchet.core.models.search import (
    SEARCHABLE,
    Range,
    SearchJournal,
    SearchSpec,
    SearchTrial,
    cost_text,
    failures_text,
    is_over,
    limits_of,
    rungs_of,
)
from ratchet.core.models.search_picture import render_search
from ratchet.tasks.training_spec import TrainingSpec

SPACE = {"learning_rate": {"low": 0.001, "high": 0.1, "log": True}}
losses = st.lists(st.floats(0, 10), min_size=1, max_size=27)


def trial(number: int, val_losses: list[float], state: str = "complete", *, seconds: float = 1.0) -> SearchTrial:
    return SearchTrial.model_validate(
        {
            "number": number,
            "values": {"batch_size": number},
            "state": state,
            "val_losses": val_losses,
            "seconds": seconds,
        }
    )


def journal_of(*val_losses: list[float]) -> SearchJournal:
    return SearchJournal(trials=tuple(trial(number, each) for number, each in enumerate(val_losses, 1)))


@pytest.mark.parametrize(
    ("num_epochs", "rungs"), [(1, ()), (2, ()), (3, (1,)), (9, (1, 3)), (10, (1, 3)), (27, (3, 9)), (100, (11, 33))]
)
def test_rungs(num_epochs: int, rungs: tuple[int, ...]) -> None:
    assert rungs_of(num_epochs) == rungs


@given(st.integers(1, 100_000))
def test_a_rung_lies_within_the_training(num_epochs: int) -> None:
    rungs = rungs_of(num_epochs)
    assert list(rungs) == sorted(set(rungs))
    assert all(0 < rung < num_epochs for rung in rungs)


@pytest.mark.parametrize(
    ("earlier", "limits"),
    [
        ([], {}),
        ([[0.5]], {}),
        ([[0.5], [0.4]], {1: 0.4}),
        ([[0.5], [0.4], [0.3], [0.2]], {1: 0.2}),
        ([[0.5], [0.4], [0.3], [0.2], [0.6]], {1: 0.3}),
    ],
)
def test_the_best_third_goes_on(earlier: list[list[float]], limits: dict[int, float]) -> None:
    assert limits_of(journal_of(*earlier), 3) == limits


@given(st.lists(losses, max_size=12), st.integers(1, 27), st.lists(st.floats(0, 10), min_size=27, max_size=27))
def test_who_goes_on_is_in_the_best_third_and_the_best_of_all_always_does(
    earlier: list[list[float]], num_epochs: int, own: list[float]
) -> None:
    for rung, limit in limits_of(journal_of(*earlier), num_epochs).items():
        others = [min(each[:rung]) for each in earlier if len(each) >= rung]
        loss = min(own[:rung])
        goes_on = loss <= limit
        num_better = sum(other < loss for other in others)
        assert goes_on == (num_better < (len(others) + 1) // 3)
        assert goes_on or loss > min(others)


@given(st.lists(st.floats(0, 600), max_size=50), st.integers(2, 50), st.floats(0.1, 60))
def test_no_trial_begins_beyond_the_number_or_the_minutes(spent: list[float], num: int, minutes: float) -> None:
    search = SearchSpec.model_validate({"trials": num, "minutes": minutes, "space": SPACE})
    begun: list[SearchTrial] = []
    for seconds in spent:
        if is_over(search, SearchJournal(trials=tuple(begun))):
            break
        begun.append(trial(len(begun) + 1, [1.0], seconds=seconds))
    assert len(begun) <= num
    assert sum(each.seconds for each in begun[:-1]) < minutes * 60
    assert begun or not spent, "the first one begins always"


def test_the_best_is_whole_and_the_earlier_one_of_two() -> None:
    found = SearchJournal(
        trials=(
            trial(1, [0.5]),
            trial(2, [0.1], "pruned"),
            trial(3, [0.9, 0.4]),
            trial(4, [0.4]),
            trial(5, [], "failed"),
        )
    )
    assert found.best is not None
    assert found.best.number == 3
    assert SearchJournal(trials=(trial(1, [0.1], "pruned"),)).best is None


@pytest.mark.parametrize(
    ("space", "words"),
    [
        ({"seed": [1, 2]}, "'seed' cannot be searched"),
        ({"label_smoothing": {"low": 0, "high": 0.1}}, "can: batch_size, learning_rate"),
        ({"batch_size": [64, 64]}, "1 different choices"),
        ({"learning_rate": {"low": 0.1, "high": 0.1}}, "not below"),
        ({"learning_rate": {"low": 0, "high": 0.1, "log": True}}, "above 0"),
        ({"learning_rate": {"low": 0, "high": 0.1}}, "`search.space.learning_rate` holds 0"),
        ({"batch_size": [64, 0]}, "`search.space.batch_size` holds 0"),
        ({"batch_size": {"low": 16.5, "high": 64}}, "`search.space.batch_size` holds 16.5"),
        ({"schedule": ["cosine", "linear"]}, "`search.space.schedule` holds 'linear'"),
        ({}, "at least 1"),
    ],
)
def test_a_space_that_no_training_takes_is_refused(space: dict[str, object], words: str) -> None:
    with pytest.raises(ValidationError, match=words.replace("(", r"\(")):
        TrainingSpec.model_validate({"search": {"space": space}})


def test_what_can_be_searched_is_a_field_of_a_training() -> None:
    assert set(SEARCHABLE) <= set(TrainingSpec.model_fields)
    spec = TrainingSpec.model_validate({"search": {"space": {"clip_norm": [None, 1.0], "batch_size": [32, 64]}}})
    assert TrainingSpec.model_validate(spec.model_dump(mode="json")) == spec
    assert "search" not in TrainingSpec().model_dump(mode="json"), "files of before keep their digest"


def test_a_search_runs_on_one_machine() -> None:
    with pytest.raises(ValidationError, match="one machine"):
        TrainingSpec.model_validate({"num_nodes": 2, "world_size": 2, "search": {"space": SPACE}})


def test_trials_are_laid_out_alike() -> None:
    with pytest.raises(ValidationError, match="leave one out"):
        TrainingSpec.model_validate({"auto": True, "search": {"space": SPACE}})


def test_a_list_of_trials_fits_the_registry() -> None:
    many = SearchJournal(trials=tuple(trial(number, [0.1] * 3) for number in range(1, 4)))
    assert many.text().splitlines()[1] == "2: 0.1 complete batch_size=2"
    values = dict.fromkeys(SEARCHABLE, 0.123456789)
    wide = SearchJournal(trials=tuple(trial(n, [0.1]).model_copy(update={"values": values}) for n in range(1, 51)))
    assert len(wide.text()) < 5_000
    assert "more in search.json" in wide.text()


def test_reasons_are_told_once() -> None:
    failed = trial(1, [], "failed").model_copy(update={"reason": "the loss is nan"})
    assert failures_text(SearchJournal(trials=(failed, failed.model_copy(update={"number": 2})))) == "the loss is nan"


def test_the_cost_is_said() -> None:
    search = SearchSpec.model_validate({"trials": 4, "minutes": 2, "space": SPACE})
    assert cost_text(search, num_epochs=9, timeout_s=60).startswith("at most 4 trials of 9 epochs, 36 epochs in all")


@given(st.lists(st.tuples(losses, st.sampled_from(["complete", "pruned"])), max_size=12))
def test_every_search_has_a_picture(found: list[tuple[list[float], str]]) -> None:
    trials = tuple(trial(number, each, state) for number, (each, state) in enumerate(found, 1))
    page = render_search(SearchJournal(trials=trials))
    assert page.count("<circle") == len(trials)
    assert "nan" not in page


def test_words_of_a_trial_are_no_html() -> None:
    failed = trial(1, [], "failed").model_copy(update={"reason": "<b>"})
    assert "<b>" not in render_search(SearchJournal(trials=(failed,)))


def test_a_range_keeps_whole_numbers() -> None:
    assert isinstance(Range.model_validate({"low": 16, "high": 64}).low, int)
