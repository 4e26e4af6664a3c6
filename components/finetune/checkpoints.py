"""A training's checkpoints, carried into the object store while it goes on: they outlive the machine that made them."""

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from ratchet.core.errors import RatchetError
from ratchet.stores.finished import FinishedSteps
from ratchet.training.checkpoint_places import Place, newest_checkpoint
from wire.loop import Loop

log = logging.getLogger(__name__)
_LOOK_S = 1.0
_UPLOAD_S_MAX = 600.0
_STOP_S_MAX = 30.0


class CheckpointKeeper:
    """Keeps the newest checkpoint; a round that fails costs nothing but a longer repetition."""

    def __init__(self, finished: FinishedSteps, inputs: Mapping[str, str], checkpoint_dir: Path) -> None:
        self._finished, self._inputs, self._dir = finished, inputs, checkpoint_dir
        found = newest_checkpoint(checkpoint_dir)
        self._kept = found[0] if found is not None else Place(0)

    def keep_newest(self) -> None:
        found = newest_checkpoint(self._dir)
        if found is None or found[0] <= self._kept:
            return
        try:
            self._finished.put_checkpoint(self._inputs, path=found[1])
        except FileNotFoundError:
            return  # two newer ones have come since: the next round takes the newest
        except RatchetError as error:
            log.warning("the checkpoint after %s is not kept: %s", found[0], error)
        self._kept = found[0]


@contextmanager
def kept_checkpoints(finished: FinishedSteps, inputs: Mapping[str, str], checkpoint_dir: Path) -> Iterator[None]:
    """While the training runs. When it fails, the last one is kept too: the next attempt begins there."""
    keeper = CheckpointKeeper(finished, inputs, checkpoint_dir)
    loop = Loop("checkpoints", keeper.keep_newest, pause_s=_LOOK_S, late_s_max=_UPLOAD_S_MAX)
    loop.start()
    try:
        yield
    except BaseException:
        loop.stop(timeout_s=_STOP_S_MAX)
        keeper.keep_newest()
        raise
    loop.stop(timeout_s=_STOP_S_MAX)
