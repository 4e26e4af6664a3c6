"""How far the training of a run is, as `runs show` and `runs watch` say it."""

import time
from collections.abc import Callable, Sequence

from cli.output import stderr
from ratchet.core.errors import RatchetError
from ratchet.core.models.training_progress import TrainingProgress, progress_words
from ratchet.core.ports import RunTask

_STEP = "finetune"
_PAUSE_S = 2.0
"""The step carries a new one as often."""
_AWAY_S = 60.0
"""An object store that is away holds up each look at the run until it has given up."""


def is_training(tasks: Sequence[RunTask]) -> bool:
    """Whether the step that trains is under way."""
    return any(task.name == _STEP and task.state == "RUNNING" for task in tasks)


def fetch_training(run_id: str, tasks: Sequence[RunTask]) -> TrainingProgress | None:
    """None while nothing is trained; None and a warning when the object store is away."""
    from ratchet import wiring

    if not is_training(tasks):
        return None
    try:
        return wiring.run_progress(run_id).fetch()
    except RatchetError as error:
        stderr.print(f"the progress of the training is unknown: {error}", markup=False)
        return None


def training_words(progress: TrainingProgress | None) -> str:
    """`finetune epoch 3/10 · step 120/400 · …`; "" of none."""
    return "" if progress is None else f"{_STEP} {progress_words(progress)}"


class TrainingWatch:
    """How far the training of a run is, asked for every 2 s at most."""

    def __init__(
        self, fetch: Callable[[], TrainingProgress | None], *, monotonic_s: Callable[[], float] = time.monotonic
    ) -> None:
        self._fetch, self._monotonic_s = fetch, monotonic_s
        self._next_at_s = monotonic_s()
        self._newest: TrainingProgress | None = None

    @classmethod
    def of_run(cls, run_id: str) -> "TrainingWatch":
        from ratchet import wiring

        return cls(lambda: wiring.run_progress(run_id).fetch())

    def look(self, tasks: Sequence[RunTask]) -> TrainingProgress | None:
        """The newest known; None while nothing is trained, and while the object store is away."""
        now_s = self._monotonic_s()
        if not is_training(tasks):
            self._newest = None
        elif now_s >= self._next_at_s:
            try:
                self._newest, pause_s = self._fetch(), _PAUSE_S
            except RatchetError:
                self._newest, pause_s = None, _AWAY_S
            self._next_at_s = now_s + pause_s
        return self._newest
