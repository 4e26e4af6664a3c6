"""The numbers of a next trial follow from the journal and the seed alone, and lie in the space."""

from ratchet.adapters.optuna_draws import OptunaDraws
from ratchet.core.models.search import SearchJournal, SearchSpec, SearchTrial

SEARCH = SearchSpec.model_validate(
    {
        "trials": 6,
        "space": {
            "learning_rate": {"low": 0.001, "high": 0.1, "log": True},
            "batch_size": {"low": 16, "high": 64},
            "schedule": ["constant", "cosine"],
            "clip_norm": [None, 1.0],
        },
    }
)


NOTHING = SearchJournal()


def searched(num: int, begun: SearchJournal = NOTHING, *, seed: int = 0) -> SearchJournal:
    states = ("complete", "pruned", "failed")
    for number in range(len(begun.trials) + 1, num + 1):
        values = OptunaDraws().draw(SEARCH, begun, seed=seed, attempt=0)
        state = states[number % 3]
        val_losses = () if state == "failed" else (1 / number, 2 / number)
        trial = SearchTrial(number=number, values=values, state=state, val_losses=val_losses, seconds=1)
        begun = SearchJournal(trials=(*begun.trials, trial))
    return begun


def test_a_search_that_goes_on_draws_what_it_would_have_drawn() -> None:
    whole = searched(6)
    halfway = SearchJournal.model_validate_json(SearchJournal(trials=whole.trials[:3]).model_dump_json())
    assert searched(6, halfway) == whole
    assert searched(6, seed=1) != whole
    assert len({each.values["learning_rate"] for each in whole.trials}) == 6
    for each in whole.trials:
        assert 0.001 <= float(str(each.values["learning_rate"])) <= 0.1
        assert isinstance(each.values["batch_size"], int)
        assert 16 <= each.values["batch_size"] <= 64
        assert each.values["schedule"] in ("constant", "cosine")


def test_another_attempt_draws_other_numbers() -> None:
    one, other = (OptunaDraws().draw(SEARCH, SearchJournal(), seed=0, attempt=attempt) for attempt in (0, 1))
    assert one != other
