"""How a training is asked to end early, as before its machine is taken away: it makes a checkpoint first.

SIGTERM asks the step, and the step its workers. Under torchrun by a file beside the job: a second SIGTERM would make
torchrun leave its workers, and who stops a whole pod may have sent it the first one already.
"""

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

GRACE_S = 30
"""From the request to the end, whatever is under way. A pod has as long."""
_SAME_REQUEST_S = 5.0
"""SIGTERM comes twice where the whole pod was sent one: torchrun passes its own on."""


class TrainingStopped(Exception):
    """The training ended early because it was asked to, and its checkpoint is written."""


def stop_path_of(failure_path: Path) -> Path:
    """The file that asks the workers of a job to end."""
    return failure_path.with_name("stop")


class StopRequest:
    """SIGTERM to this process, as a request. A second one, more than 5 s later, ends the process at once."""

    def __init__(self, act: Callable[[], object]) -> None:
        """act: called once, in the signal's handler."""
        self._act = act
        self.made_at: float | None = None
        """On the monotonic clock; None: not made."""

    @contextmanager
    def listening(self) -> Iterator["StopRequest"]:
        """In another thread than the main one nothing changes: signals come to that one alone."""
        if threading.current_thread() is not threading.main_thread():
            yield self
            return
        before = signal.signal(signal.SIGTERM, self._take)
        try:
            yield self
        finally:
            signal.signal(signal.SIGTERM, signal.SIG_DFL if before is None else before)

    def _take(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if self.made_at is None:
            self.made_at = now
            self._act()
        elif now - self.made_at > _SAME_REQUEST_S:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            signal.raise_signal(signal.SIGTERM)
