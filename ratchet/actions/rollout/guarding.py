"""One look of the guard at one task: close what a dead run left open, compare the champion with its past, act.

Killed anywhere it goes on: what was decided is written down before it is done (`s3://ratchet/guard/<task>/
rollback-<seq>.json`, seq of the ledger entry that it answers), and what it remembers is stored after each window
(`s3://ratchet/guard/<task>/vigil.json`).
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ratchet.actions.models.registry_mirror import RegistryWatch
from ratchet.actions.rollout.guard_report import GuardOutcome, GuardReport, mismatch_text, seen_by_users, vigil_text
from ratchet.actions.rollout.ports import RolloutPorts
from ratchet.actions.rollout.rollback import close_half_open, find_fallback, find_open_rollout, roll_back
from ratchet.actions.rollout.traffic import is_newest_alive, is_rolled_out
from ratchet.core.errors import NotFound, Unavailable
from ratchet.core.models.ledger import LedgerEntry, ModelRef, champion_of, next_seq
from ratchet.core.ports import Pipelines, RevisionCounts, ServiceState
from ratchet.core.rollout.champions import champion_view
from ratchet.core.rollout.guard import GuardPolicy, Vigil, add_window, is_recent, judge_policy_of
from ratchet.core.rollout.policy import RolloutPolicy
from ratchet.core.rollout.progress import Decision
from ratchet.core.rollout.window import arm_window_of, latency_limits_of
from ratchet.core.verdict import Reason, Verdict
from ratchet.stores.decisions import Decisions
from ratchet.stores.guard_memory import GuardMemory, Intent

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class GuardPolicies:
    """What a look goes by."""

    guard: GuardPolicy
    rollout: RolloutPolicy


@dataclass(frozen=True)
class GuardPorts:
    """What the guard looks at and acts on."""

    rollout: RolloutPorts
    pipelines: Callable[[], Pipelines]
    """Asked for when it is needed: building it takes a KFP that answers."""
    memory: GuardMemory


class TaskGuard:
    """The guard of one task. It remembers the last reading of the counters and since when a rollout stands open."""

    def __init__(self, ports: GuardPorts, *, task: str) -> None:
        self._ports, self._task = ports, task
        self._vigil: Vigil | None = None
        self._before: RevisionCounts | None = None
        self._read_at_s = 0.0
        self._open_since_s: float | None = None
        self._stuck = ""
        """Why the newest open rollout could not be closed to the end."""
        self._done_seq = 0
        """Ledger entry for which no rollback is left half done."""
        rollout = ports.rollout
        self._registry = RegistryWatch(rollout.registry, rollout.ledger, task=task, records=rollout.records)

    def look(self, policies: GuardPolicies) -> GuardReport:
        """See how the task's service is, and do what has to be done. Raises what servers that are down raise."""
        report = self._look(policies)
        registry = self._registry.look(self._ports.rollout.clock.elapsed_s())
        return report.model_copy(update={"registry": registry, "num_repairs": self._registry.num_repairs})

    def _look(self, policies: GuardPolicies) -> GuardReport:
        ports = self._ports.rollout
        entries = tuple(ports.ledger.list_entries(self._task))
        champion, state = champion_of(entries), ports.services.fetch(self._task)
        report = self._act(entries, champion, state, policies)
        return seen_by_users(report, champion_view(self._task, champion, state))

    def _act(
        self,
        entries: tuple[LedgerEntry, ...],
        champion: ModelRef | None,
        state: ServiceState | None,
        policies: GuardPolicies,
    ) -> GuardReport:
        if champion is None or state is None:
            return self._report("absent", "nothing serves yet: no model has been promoted", champion=champion)
        if (intent := self._unfinished(entries)) is not None:
            return self._roll_back(intent, entries, champion)
        if open_uri := find_open_rollout(self._ports.rollout, state, entries, task=self._task):
            return self._watch_rollout(open_uri, policies, champion)
        self._open_since_s, self._stuck = None, ""
        if not is_rolled_out(state, champion.uri):
            return self._report("mismatch", mismatch_text(state, champion, task=self._task), champion=champion)
        return self._watch_champion(state, entries, champion, policies)

    def _watch_rollout(self, open_uri: str, policies: GuardPolicies, champion: ModelRef) -> GuardReport:
        ports = self._ports.rollout
        # Counts from the time of a rollout are no past of the champion.
        self._before = None
        running = [run.name for run in self._ports.pipelines().list_unfinished(self._task)]
        now_s = ports.clock.elapsed_s()
        if running:
            self._open_since_s = None
            return self._report("rollout", f"{', '.join(running)} rolls out {open_uri}", champion=champion)
        self._open_since_s = now_s if self._open_since_s is None else self._open_since_s
        limit_s = policies.guard.orphan_s_max
        if now_s - self._open_since_s < limit_s and self._stuck:
            return self._report("mismatch", self._stuck, champion=champion)
        if now_s - self._open_since_s < limit_s:
            text = f"a rollout of {open_uri} is open, but no run of {self._task} is in flight"
            return self._report("orphan", f"{text}; the guard closes it after {limit_s:g} s", champion=champion)
        run_id = f"guard-{len(ports.ledger.list_entries(self._task)) + 1}"
        done = close_half_open(ports, task=self._task, run_id=run_id, ready_s_max=policies.rollout.ready_s_max)
        self._open_since_s = None
        state = ports.services.fetch(self._task)
        self._stuck = (done or "") if state is not None and not is_rolled_out(state, champion.uri) else ""
        text = done or "another process closed it meanwhile"
        return self._report("mismatch" if self._stuck else "closed", text, champion=champion)

    def _watch_champion(
        self, state: ServiceState, entries: Sequence[LedgerEntry], champion: ModelRef, policies: GuardPolicies
    ) -> GuardReport:
        ports, policy = self._ports.rollout, policies.guard
        vigil = self._vigil_of(state.stable_revision)
        counts = ports.stats.fetch_counts(state.stable_revision)
        now_s, is_ready = ports.clock.elapsed_s(), is_newest_alive(state)
        decision: Decision | None = None
        if self._before is None or now_s - self._read_at_s >= policy.window_s:
            limits = vigil.limits or latency_limits_of(counts, policies.rollout)
            if self._before is not None:
                window = arm_window_of(self._before, counts, limits=vigil.limits)
                at_s = max((ports.clock.now() - vigil.began_at).total_seconds(), 0.0)
                judge = judge_policy_of(policies.rollout)
                vigil, judged = add_window(vigil, window, at_s=at_s, is_ready=is_ready, policy=policy, rollout=judge)
                decision = judged.decision if judged else None
            self._keep(vigil.model_copy(update={"limits": limits}))
            self._before, self._read_at_s = counts, now_s
        if vigil.state == "worse":
            worse = worse_than_its_past(decision, vigil_text(vigil, policy), champion=champion, seq=entries[-1].seq)
            return self._act_on_worse(worse, entries, champion, policy)
        return self._report(vigil.state, vigil_text(vigil, policy), champion=champion, num_past=vigil.num_past)

    def _act_on_worse(
        self, worse: Verdict, entries: Sequence[LedgerEntry], champion: ModelRef, policy: GuardPolicy
    ) -> GuardReport:
        reason = f"worse than its own past: {worse.summary()}"
        now = self._ports.rollout.clock.now()
        if policy.on_worse == "tell":
            why = "the policy requires a person to decide"
        elif not is_recent(tuple(entries), now=now, policy=policy):
            why = f"it was promoted over {policy.roll_back_s_max:g} s ago, so the cause may be elsewhere"
        elif no_fallback := self._find_no_fallback(entries):
            why = no_fallback
        else:
            return self._roll_back(self._intend(reason, worse, seq=entries[-1].seq), entries, champion)
        next_step = (
            f"Look at `ratchet rollout status --task {self._task}`; `ratchet rollback --task {self._task}` undoes it"
        )
        return self._report("worse", f"{reason}; {why}. {next_step}", champion=champion)

    def _find_no_fallback(self, entries: Sequence[LedgerEntry]) -> str:
        """Why a rollback would go nowhere; "" when it has where to go."""
        try:
            find_fallback(self._ports.rollout.files, entries, task=self._task)
        except NotFound as error:
            return str(error)
        return ""

    def _roll_back(self, intent: Intent, entries: Sequence[LedgerEntry], champion: ModelRef) -> GuardReport:
        """What was decided about one champion must not hit the next: between look and deed a person may be faster."""
        if next_seq(self._ports.rollout.ledger.list_entries(self._task)) != next_seq(entries):
            text = "the ledger changed during this look; the next look starts again"
            return self._report("rollout", text, champion=champion)
        reason, run_id = intent.reason, _run_id_of(entries[-1].seq)
        try:
            after = roll_back(
                self._ports.rollout, task=self._task, reason=reason, run_id=run_id, verdict_digest=intent.verdict_digest
            )
        except NotFound as error:  # decided, and meanwhile the files went where a rollback would go
            return self._report("worse", f"{reason}; {error}", champion=champion)
        self._vigil = self._before = None
        text = "; ".join(
            (f"version {champion.version} is {reason}; version {after.champion.version} serves", *after.told)
        )
        log.warning("%s: %s", self._task, text)
        return self._report("rolled_back", text, champion=after.champion)

    def _intend(self, reason: str, worse: Verdict, *, seq: int) -> Intent:
        """Written down before it is done: the first reason stands. Until the ledger goes on, each look finishes it."""
        self._done_seq, records = 0, self._ports.rollout.records
        try:
            decisions = Decisions(records.objects, records.bucket)
            digest = decisions.put(worse, task=self._task, run_id=_run_id_of(seq))
        except Unavailable as error:  # users are worse off meanwhile; a proof is not worth that
            log.warning("%s: the ledger names no verdict for this rollback: %s", self._task, error)
            digest = ""
        intent = Intent(reason=reason, verdict_digest=digest)
        self._ports.memory.put_intent(self._task, intent, seq=seq)
        return self._ports.memory.fetch_intent(self._task, seq=seq) or intent

    def _unfinished(self, entries: Sequence[LedgerEntry]) -> Intent | None:
        """A rollback that was decided on for the newest ledger entry; with a newer entry it is done."""
        seq = entries[-1].seq
        # Asked once for each ledger entry, not at each look.
        if seq == self._done_seq:
            return None
        intent = self._ports.memory.fetch_intent(self._task, seq=seq)
        if intent is None:
            self._done_seq = seq
        return intent

    def _vigil_of(self, revision: str) -> Vigil:
        if self._vigil is None:
            self._vigil = self._ports.memory.fetch_vigil(self._task)
        if self._vigil is None or self._vigil.revision != revision:
            self._vigil = Vigil(revision=revision, began_at=self._ports.rollout.clock.now())
            self._before = None
        return self._vigil

    def _keep(self, vigil: Vigil) -> None:
        self._vigil = vigil
        try:
            self._ports.memory.put_vigil(self._task, vigil)
        except Unavailable as error:
            log.warning("the past of %s could not be stored: %s", self._task, error)

    def _report(
        self, outcome: GuardOutcome, reason: str, *, champion: ModelRef | None, num_past: int | None = None
    ) -> GuardReport:
        return GuardReport(
            task=self._task,
            at=self._ports.rollout.clock.now(),
            outcome=outcome,
            reason=reason,
            champion=champion.version if champion else None,
            num_past=num_past,
        )


def worse_than_its_past(decision: Decision | None, text: str, *, champion: ModelRef, seq: int) -> Verdict:
    """What the guard decided, with its numbers. decision: None where an earlier look made it; text says it then."""
    told = Reason(check="own_past", value=None, limit=None, passed=False, text=text)
    reasons = decision.reasons if decision is not None else (told,)
    inputs = {"champion": champion.digest, "champion_version": champion.version, "ledger_entry": seq}
    return Verdict(kind="guard", verdict="rolled_back", reasons=reasons, inputs=inputs)


def _run_id_of(seq: int) -> str:
    """One name for one decision: the ledger takes what this run did once."""
    return f"guard-rollback-{seq}"
