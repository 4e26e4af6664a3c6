"""A loop in a thread of its own: what a server does beside answering, round after round, whatever goes wrong in one."""

import logging
import threading
import time
from collections.abc import Callable

from wire.heartbeat import Heartbeat

log = logging.getLogger(__name__)

_SAY_AGAIN_S = 60.0
"""A round that fails ten times a second must not fill the disk with its reason."""
STOP_WITHIN_S = 5.0


class Loop:
    """Plays rounds until it is stopped, and may be started again. Rounds never overlap.

    An exception is one failed round: its reason is logged, and the next round comes after the usual pause. `heartbeat`
    is red when a round does not end, and when the thread has ended though nobody stopped it.
    """

    def __init__(
        self,
        name: str,
        play_round: Callable[[], float | None],
        *,
        pause_s: float,
        late_s_max: float,
        first_pause_s: float | None = None,
        at_stop: Callable[[], None] | None = None,
    ) -> None:
        """name: in logs, and in what health says.

        play_round: gives the seconds until the next round, None for `pause_s`.
        late_s_max: longer than any round that ends by itself, in seconds.
        first_pause_s: before the first round; None for `pause_s`.
        at_stop: done once by the thread after its last round.
        """
        self._name = name
        self._play_round = play_round
        self._pause_s = pause_s
        self._first_pause_s = pause_s if first_pause_s is None else first_pause_s
        self._at_stop = at_stop
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._failure = ""
        self._said_at_s = 0.0
        self.heartbeat = Heartbeat(name, late_s_max=late_s_max)

    @property
    def is_stopping(self) -> bool:
        """Asked by rounds of several parts between two of them."""
        return self._stopping.is_set()

    def start(self) -> None:
        """Begin, also after `stop` or when the thread has ended; nothing while it turns."""
        with self._lock:
            before = self._thread
            if before is not None and before.is_alive() and not self._stopping.is_set():
                return
            # An event for each start: a round that outlived `stop` must go on seeing that it was stopped.
            self._stopping = threading.Event()
            self._thread = threading.Thread(
                target=self._turn, args=(self._stopping, before), name=self._name, daemon=True
            )
            self._thread.start()

    def stop(self, *, timeout_s: float = STOP_WITHIN_S, wake: Callable[[], None] = lambda: None) -> bool:
        """Let the round under way finish; whether it did in time. wake: ends what that round waits for."""
        with self._lock:
            self._stopping.set()
            thread = self._thread
        wake()
        if thread is None:
            return True
        thread.join(timeout_s)
        return not thread.is_alive()

    def _turn(self, stopping: threading.Event, before: threading.Thread | None) -> None:
        self.heartbeat.begin(threading.current_thread().is_alive)  # not in `start`: the first beat may come sooner
        if before is not None:
            before.join()
        pause_s = self._first_pause_s
        self.heartbeat.beat(next_in_s=pause_s)
        while not stopping.wait(pause_s):
            self.heartbeat.beat()
            pause_s = self._play_safely(self._play_round)
            self.heartbeat.beat(next_in_s=pause_s)
        if self._at_stop is not None:
            self._play_safely(self._at_stop)

    def _play_safely(self, play: Callable[[], float | None]) -> float:
        try:
            pause_s = play()
        except Exception as error:
            self._say(error)
            return self._pause_s
        if self._failure:
            log.info("loop %s works again", self._name)
            self._failure = ""
        return self._pause_s if pause_s is None else pause_s

    def _say(self, error: Exception) -> None:
        """Each reason once a minute, the first time with its stack trace."""
        reason, now_s = _reason_of(error), time.monotonic()
        is_news = reason != self._failure
        if is_news or now_s - self._said_at_s >= _SAY_AGAIN_S:
            trace = error if is_news else None
            log.error("loop %s: a round failed, the next one comes: %s", self._name, reason, exc_info=trace)
            self._failure, self._said_at_s = reason, now_s


def _reason_of(error: Exception) -> str:
    try:
        return f"{type(error).__name__}: {error}"
    except Exception:  # its own text fails, which must not end the loop
        return type(error).__name__
