"""Watching a canary: carry out what the judge says of traffic and mirroring, look, judge, write it down, until it ends.

What is routed is read back from the cluster at every look, never remembered. What may take long (writing the record,
reading orders and payloads) is done on the side: only the cluster and the counters can hold up a look, both bounded.
"""

import logging
from typing import NamedTuple

from ratchet.actions.models.classes import fetch_comparable
from ratchet.actions.rollout.ports import RolloutPorts
from ratchet.actions.rollout.quality import QualityFeed
from ratchet.actions.rollout.traffic import close_canary, is_newest_alive, set_canary_traffic
from ratchet.core.errors import Conflict, Unavailable
from ratchet.core.ports import RevisionCounts, ServiceState
from ratchet.core.rollout.history import History, JudgedLook, judge_look
from ratchet.core.rollout.progress import Action, Look, Orders, Progress, begin
from ratchet.core.rollout.quality import QualityJoin
from ratchet.core.rollout.window import LatencyLimits, Window, arm_window_of, latency_limits_of
from ratchet.errand import Errand
from ratchet.stores.rollout_orders import orders_of
from ratchet.stores.rollout_record import Checkpoint, Recorded

log = logging.getLogger(__name__)

MIRROR_PCT = 100
FLUSH_EVERY_S = 2.0
_SIDE_WAIT_S = 0.05
"""How long a look waits for what is done on the side: an object store nearby answers in 0.005 s."""
_FIRST_ORDERS_S_MAX = 1.0
"""How long the first look waits for them: a pause that was ordered while nobody watched holds from the beginning."""
RECORD_S_MAX = 30.0
"""How long the record may take before the canary gains traffic. Longer, and it is closed: nobody could go on."""
_ROUTED_S_MAX = 10.0
"""How long one try to move the traffic may hold up the looks; the next look tries again."""
_MIRROR_AGAIN_LOOKS = 40
"""Mirroring that does not come into force is asked for again after so many looks; on Knative it never does."""
_LOG_EVERY_LOOKS = 20


class Reading(NamedTuple):
    """The counters of both revisions at one moment."""

    stable: RevisionCounts
    canary: RevisionCounts


def watch_canary(ports: RolloutPorts, *, state: ServiceState, recorded: Recorded) -> History:
    """Judge the canary of `state` from where its record ends until the judge has come to an end.

    Traffic is then 0 unless it is promoted: rolling it out is the caller's. Raises Conflict when somebody else changes
    the service or writes the record meanwhile, Unavailable (with the canary closed) when the record cannot be written.
    """
    watch = CanaryWatch(ports, state, recorded)
    try:
        return watch.run()
    finally:
        watch.close()


class CanaryWatch:
    """One canary, from look to look."""

    def __init__(self, ports: RolloutPorts, state: ServiceState, recorded: Recorded) -> None:
        begun = recorded.begin
        self._ports, self._task, self._policy = ports, begun.task, begun.policy
        self._stable, self._canary = state.stable_revision, state.latest_created_revision
        self._state, self._can_see = state, True
        self._looks = list(recorded.looks)
        self._progress: Progress = recorded.checkpoint.progress if recorded.checkpoint else begin(begun.policy)
        self._limits: LatencyLimits | None = recorded.checkpoint.limits if recorded.checkpoint else None
        # What came since the record ended is lost: a process counts from its own first reading (adapters/counters.py),
        # so another's last one would be no beginning, and requests that are lost are lost to both revisions alike.
        self._reading = self._read()
        self._pct_at_reading = self._routed_pct()
        self._took_s = ports.clock.elapsed_s() - (self._looks[-1].look.at_s if self._looks else 0.0)
        self._flushed_at_s = self._now_s()
        self._num_looks_at_mirror = -_MIRROR_AGAIN_LOOKS
        self._writer = ports.records.writer(recorded)
        book = ports.orders.book(begun.task, begun.run_id)
        self._order_errand = Errand(book.fetch, name="rollout-orders")
        # What was ordered before a crash still holds, also when the object store is too slow for the first look.
        orders = self._order_errand.ask(wait_s=_FIRST_ORDERS_S_MAX)
        self._orders: Orders = self._progress.orders if orders is None else orders_of(orders)
        join = QualityJoin(
            stable_digest=begun.champion.digest, canary_digest=begun.model.digest, began_at=ports.clock.now()
        )
        feed = QualityFeed(
            ports.payloads,
            ports.feedback,
            ports.clock,
            task=begun.task,
            join=join,
            find_comparable=lambda: fetch_comparable(ports.objects, begun.champion.uri, begun.model.uri),
        )
        self._quality_errand = Errand(feed.fetch, name="rollout-quality")

    def run(self) -> History:
        while not self._progress.outcome:
            self._carry_out()
            self._ports.clock.sleep(self._policy.look_interval_s)
            before = self._progress
            self._judge(self._look())
            self._write_down(before)
        if self._progress.weight_pct == 0:
            self._carry_out()
            if not self._writer.flush(wait_s=RECORD_S_MAX):
                log.warning("%s: the last looks of this rollout could not be recorded", self._task)
        return History(looks=tuple(self._looks), limits=self._limits)

    def close(self) -> None:
        for side in (self._writer, self._order_errand, self._quality_errand):
            side.close()

    def _carry_out(self) -> None:
        """Make the cluster be as the judge wants it. A cluster that does not answer is asked again at the next look."""
        weight_pct = self._progress.weight_pct
        try:
            if self._routed_pct() != weight_pct:
                self._move_to(weight_pct)
            if self._progress.is_mirrored and self._state.mirror_pct == 0 and not self._was_mirror_asked():
                self._ports.services.set_mirror(self._task, MIRROR_PCT)
                self._num_looks_at_mirror = len(self._looks)
        except Unavailable as error:
            log.warning("%s: %s", self._task, error)

    def _move_to(self, weight_pct: int) -> None:
        log.info("%s: %d %% of the traffic to the canary", self._task, weight_pct)
        set_canary_traffic(
            self._ports.services, self._ports.clock, task=self._task, weight_pct=weight_pct, timeout_s=_ROUTED_S_MAX
        )

    def _was_mirror_asked(self) -> bool:
        return len(self._looks) - self._num_looks_at_mirror < _MIRROR_AGAIN_LOOKS

    def _look(self) -> Look:
        self._see()
        after = self._read() if self._can_see else None
        window = self._window_to(after)
        routed_pct, pct_before = self._routed_pct(), self._pct_at_reading
        if after is not None:
            self._reading, self._pct_at_reading = after, routed_pct
        if self._limits is None and after is not None:
            self._limits = latency_limits_of(after.stable, self._policy)
        orders = self._order_errand.ask(wait_s=_SIDE_WAIT_S)
        self._orders = self._orders if orders is None else orders_of(orders)
        return Look(
            at_s=self._now_s(),
            window=window,
            is_canary_ready=is_newest_alive(self._state),
            # Traffic that moved within the window belongs to no one share: both ends of it must have the wanted one.
            is_routed=pct_before == routed_pct == self._progress.weight_pct,
            quality=self._quality_errand.ask(wait_s=_SIDE_WAIT_S),
            orders=self._orders,
        )

    def _judge(self, look: Look) -> None:
        self._progress, judged = judge_look(self._progress, look, self._policy)
        self._looks.append(judged)
        checkpoint = Checkpoint(at=self._ports.clock.now(), progress=self._progress, limits=self._limits)
        self._writer.add(judged, checkpoint)
        self._log(judged)

    def _write_down(self, before: Progress) -> None:
        """Every few seconds, and before the traffic moves. Losing traffic hardly waits for the record; gaining does."""
        gains = self._progress.weight_pct > before.weight_pct
        moves = (before.weight_pct, before.phase, before.outcome) != (
            self._progress.weight_pct,
            self._progress.phase,
            self._progress.outcome,
        )
        if not moves and self._now_s() - self._flushed_at_s < FLUSH_EVERY_S:
            return
        self._flushed_at_s = self._now_s()
        is_stored = self._writer.flush(wait_s=RECORD_S_MAX if gains else _SIDE_WAIT_S)
        if gains and not is_stored:
            close_canary(self._ports.services, self._ports.clock, task=self._task)
            raise Unavailable(
                f"{self._task}: the rollout could not be recorded for {RECORD_S_MAX:g} s, so its canary gains no "
                "traffic and was closed. Check that the object store is up, then start the run again: it continues "
                "from its record."
            )

    def _see(self) -> None:
        """Read back what the cluster does; what it was like before stands while the cluster does not answer."""
        try:
            now = self._ports.services.fetch(self._task)
        except Unavailable as error:
            log.warning("%s: %s", self._task, error)
            self._can_see = False
            return
        if now is None or (now.latest_created_revision, now.stable_revision) != (self._canary, self._stable):
            raise Conflict(
                f"InferenceService {self._task} no longer has {self._canary} as the canary of {self._stable}: "
                f"another run or a person changed it. This run changes nothing; see `ratchet rollout status --task "
                f"{self._task}`."
            )
        self._state, self._can_see = now, True

    def _read(self) -> Reading | None:
        """Both counters, or None when the traffic numbers cannot be had: an outcome of its own, not an error."""
        stats = self._ports.stats
        try:
            return Reading(stable=stats.fetch_counts(self._stable), canary=stats.fetch_counts(self._canary))
        except Unavailable as error:
            log.warning("no traffic numbers: %s", error)
            return None

    def _window_to(self, after: Reading | None) -> Window | None:
        """What happened since the last reading; nothing is known from the first one alone."""
        before = self._reading
        if after is None:
            return None
        if before is None:
            return Window()
        return Window(
            stable=arm_window_of(before.stable, after.stable, limits=self._limits),
            canary=arm_window_of(before.canary, after.canary, limits=self._limits),
        )

    def _routed_pct(self) -> int:
        return self._state.traffic_pct.get(self._canary, 0)

    def _now_s(self) -> float:
        """Seconds that somebody watched: a gap between two attempts is no time at which evidence could come."""
        return round(self._ports.clock.elapsed_s() - self._took_s, 6)

    def _log(self, judged: JudgedLook) -> None:
        if judged.decision.action is not Action.HOLD or len(self._looks) % _LOG_EVERY_LOOKS == 0:
            log.info("%s at %d %%: %s: %s", self._task, judged.weight_pct, judged.decision.action, judged.decision.text)
