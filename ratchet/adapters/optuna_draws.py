"""Optuna's tree-structured Parzen estimator (Bergstra et al., 2011), over a study that is filled anew from the journal.

So the journal is all that a killed search has to keep: no database and no pickle. Each trial has a sampler of its own
seed, for a search that went on after a kill has to draw what one without a kill draws.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ratchet.core.digest import digest_of
from ratchet.core.models.search import Range, SearchJournal, SearchSpec, SearchTrial, Value

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.trial import FrozenTrial

_AT_RANDOM_MIN = 3
"""Trials before the estimator has anything to estimate from; of a longer search, a quarter."""
_SEEDS = 2**32
"""NumPy takes as many."""


class OptunaDraws:
    def draw(self, search: SearchSpec, journal: SearchJournal, *, seed: int, attempt: int) -> Mapping[str, Value]:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        own = int(digest_of([seed, len(journal.trials), attempt]), 16) % _SEEDS
        num_random = max(_AT_RANDOM_MIN, search.trials // 4)
        study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=own, n_startup_trials=num_random))
        asked = {name: _distribution_of(found) for name, found in search.space.items()}
        study.add_trials([_told(each, asked) for each in journal.trials])
        return dict(study.ask(asked).params)


def _distribution_of(found: Range | tuple[Value, ...]) -> "BaseDistribution":
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if not isinstance(found, Range):
        return CategoricalDistribution(list(dict.fromkeys(found)))
    if isinstance(found.low, int) and isinstance(found.high, int):
        return IntDistribution(found.low, found.high, log=found.log)
    return FloatDistribution(found.low, found.high, log=found.log)


def _told(trial: SearchTrial, asked: "dict[str, BaseDistribution]") -> "FrozenTrial":
    from optuna.trial import TrialState, create_trial

    states = {"complete": TrialState.COMPLETE, "pruned": TrialState.PRUNED, "failed": TrialState.FAIL}
    measured: dict[str, Any] = {"intermediate_values": dict(enumerate(trial.val_losses, 1))}
    if trial.state == "complete":
        measured["value"] = trial.loss
    return create_trial(state=states[trial.state], params=dict(trial.values), distributions=asked, **measured)
