"""A training's progress, carried into the object store while it goes on, for those who watch its run."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ratchet.core.errors import RatchetError
from ratchet.core.models.training_progress import TrainingProgress
from ratchet.stores.run_progress import RunProgress
from wire.loop import Loop

log = logging.getLogger(__name__)
_LOOK_S = 2.0
"""Between two objects at least: half a request a second is nothing to an object store, and soon enough for people."""
_PUT_S_MAX = 600.0


class ProgressCarrier:
    """Carries what is new. A store that is away costs those who watch their line, and the training nothing."""

    def __init__(self, kept: RunProgress, path: Path) -> None:
        self._kept, self._path = kept, path
        self._carried = b""
        self._is_said = False

    def carry(self) -> None:
        try:
            told = self._path.read_bytes()
        except FileNotFoundError:
            return  # no step was made yet
        if told == self._carried:
            return
        try:
            self._kept.put(TrainingProgress.model_validate_json(told))
            self._carried = told
        except RatchetError as error:
            if not self._is_said:
                log.warning("the training's progress is not shown, the training goes on: %s", error)
            self._is_said = True

    def forget(self) -> None:
        """What a put that is still under way leaves behind, `notify` or the retention removes."""
        try:
            self._kept.forget()
        except RatchetError as error:
            log.warning("the training's progress stays until its time is over: %s", error)


@contextmanager
def shown_progress(kept: RunProgress, path: Path | None) -> Iterator[None]:
    """While the training runs. path: where worker 0 tells."""
    if path is None:
        yield
        return
    carrier = ProgressCarrier(kept, path)
    loop = Loop("progress", carrier.carry, pause_s=_LOOK_S, late_s_max=_PUT_S_MAX)
    loop.start()
    try:
        yield
    finally:
        loop.stop()
        carrier.forget()
