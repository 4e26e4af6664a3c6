"""Keeps KFP's recurring runs as configs/schedules.yaml has them: at the start, and when the file changes."""

import logging
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from ratchet.actions.runs.schedules import AppliedChange, Reconciled
from ratchet.core.digest import digest_of_bytes
from ratchet.core.errors import RatchetError
from ratchet.core.runs.schedules import WantedSchedule
from wire.heartbeat import Heartbeat
from wire.loop import Loop

log = logging.getLogger(__name__)
LOOK_S = 5.0
"""Between two looks at the file; also the wait after a failure."""
REFUSED_WAIT = timedelta(minutes=1)
_STOP_WITHIN_S = 1.0


class ScheduleKeeper:
    """A thread of its own, so that no tick waits for it. What fails is logged once and tried again."""

    def __init__(
        self,
        reconcile: Callable[[Sequence[WantedSchedule]], Reconciled],
        fetch_wanted: Callable[[], Sequence[WantedSchedule] | None],
        path: Path,
        *,
        look_s: float = LOOK_S,
    ) -> None:
        """fetch_wanted: what the file says; None when there is no file, which is no order to delete anything."""
        self._reconcile = reconcile
        self._fetch_wanted = fetch_wanted
        self._path = path
        self._applied_digest: str | None = None
        self._retry_at: datetime | None = None
        self._last_error = ""
        self._loop = Loop(
            "schedules",
            lambda: self.look(datetime.now(UTC)),
            pause_s=look_s,
            first_pause_s=0.0,
            late_s_max=600.0,
        )

    @property
    def heartbeat(self) -> Heartbeat:
        return self._loop.heartbeat

    def start(self) -> None:
        self._loop.start()

    def stop(self) -> None:
        """A reconcile that is under way may be cut off by the end of the process: the next one goes on from there."""
        self._loop.stop(timeout_s=_STOP_WITHIN_S)

    def look(self, now: datetime) -> None:
        """Reconcile when the file is another than the one that was applied, or it is time to try again."""
        try:
            digest = digest_of_bytes(self._path.read_bytes()) if self._path.is_file() else ""
            is_due = self._retry_at is not None and now >= self._retry_at
            if digest == self._applied_digest and not is_due:
                return
            wanted = self._fetch_wanted()
            reconciled = None if wanted is None else self._reconcile(wanted)
        except (RatchetError, OSError) as error:
            self._tell(str(error))
            return
        self._applied_digest = digest
        self._retry_at = None if reconciled is None else reconciled.retry_at
        self._note(reconciled.applied if reconciled else (), now=now)

    def _note(self, applied: Sequence[AppliedChange], *, now: datetime) -> None:
        """Log what was done. What cannot be done (a pipeline that nobody published) is tried again each minute."""
        for each in applied:
            if not each.error and each.change.kind not in {"keep", "wait"}:
                log.info("schedule %s", each.text)
        error = "; ".join(each.error for each in applied if each.error)
        if error:
            self._retry_at = now + REFUSED_WAIT
            self._tell(error)
        else:
            self._last_error = ""

    def _tell(self, error: str) -> None:
        """Each error once, until another one or a success."""
        if error != self._last_error:
            log.warning("schedules: %s", error)
        self._last_error = error
