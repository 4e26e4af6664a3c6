"""What holds back a run that is due: failures, cooldown, budget, hours, slots. Each gate alone. Pure."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from ratchet.core.runs.facts import Check, Rival, RunStart, SkipCode
from ratchet.core.runs.hours import day_of, is_open, next_opening, render_moment
from ratchet.core.runs.policy import DAY_S
from ratchet.core.runs.situation import Situation

_NEVER = datetime.min.replace(tzinfo=UTC)
_DOUBLINGS_MAX = 20
"""A wait ends at a day: 2**20 s are 12 days already, and a long row of failures would make a number without an end."""


def check_busy(situation: Situation) -> Check:
    """One run of a task at a time, whoever started it. Nothing goes past this gate."""
    names = list(situation.in_flight)
    last = situation.last
    if last is not None and last.end is None and last.name not in names:
        names.append(last.name)
    if not names:
        names = [f"started {render_moment(run.at)}" for run in situation.starts if run.ended_at is None]
    verb = "run is" if len(names) == 1 else "runs are"
    text = f"{len(names)} {verb} in flight ({', '.join(names)}), 1 at a time" if names else "no run is in flight"
    return Check(code="busy", passed=not names, text=text)


def check_limits(situation: Situation, at: datetime) -> list[Check]:
    """The gates that a person's request may go past, in order."""
    return [
        _check_code(situation),
        _check_cause(situation),
        _check_failures(situation),
        _check_retry_wait(situation, at),
        _check_cooldown(situation, at),
        _check_runs_a_day(situation, at),
        _check_minutes_a_day(situation, at),
        _check_hours(situation, at),
        _check_slots(situation),
        _check_rivals(situation),
    ]


def _check_code(situation: Situation) -> Check:
    problem = situation.code.problem
    text = f"the task's code cannot train: {problem}; `ratchet tasks check {situation.task}` shows details"
    known = "the task's code is not checked here" if not situation.code.digest else "the task's code has no known fault"
    return Check(code="broken_task", passed=not problem, text=text if problem else known)


def _check_cause(situation: Situation) -> Check:
    """A failure that repeats itself is not tried again until something of what it depends on has changed."""
    failed = situation.failed
    if failed is None or failed.end is None or failed.end.is_retryable:
        return Check(code="needs_change", passed=True, text="no failure that a retry would repeat")
    # A digest that is unknown on either side proves no change.
    is_edited = "" not in (situation.code.digest, failed.end.code_digest)
    is_edited = is_edited and situation.code.digest != failed.end.code_digest
    newest = max(situation.backlog.shard_keys, default="")
    if is_edited or newest > failed.trigger.newest_shard:
        what = "the task's code has changed" if is_edited else "new labels arrived"
        return Check(code="needs_change", passed=True, text=f"{what} since run {failed.name} failed")
    text = (
        f"run {failed.name} failed, and a retry would fail again: {failed.end.summary or failed.end.error}. Correct "
        f"it: a change of the task file, its code or a policy, or new labels start the next run; so does "
        f"`ratchet run retrain --task {situation.task} --again`"
    )
    return Check(code="needs_change", passed=False, text=text)


def _check_failures(situation: Situation) -> Check:
    failed, limit = situation.failed, situation.policy.failed_attempts_max
    if failed is None or failed.num_failed < limit:
        number = failed.num_failed if failed else 0
        return Check(code="failed_too_often", passed=True, text=f"failed runs in a row: {number}, limit {limit}")
    text = (
        f"failed runs in a row: {failed.num_failed}, limit {limit}; the last is {failed.name}: "
        f"see `ratchet runs list`, correct the cause, then run `ratchet run retrain --task {situation.task} --again`"
    )
    return Check(code="failed_too_often", passed=False, text=text)


def _check_retry_wait(situation: Situation, at: datetime) -> Check:
    failed, policy = situation.failed, situation.policy
    if failed is None:
        return Check(code="retry_wait", passed=True, text="the last run did not fail")
    assert failed.end is not None
    wait_s = min(policy.retry_wait_s * 2 ** min(failed.trigger.num_failed_before, _DOUBLINGS_MAX), DAY_S)
    due_at = failed.end.at + timedelta(seconds=wait_s)
    text = (
        f"run {failed.name} failed, {failed.num_failed} in a row of {policy.failed_attempts_max} allowed; "
        f"next attempt after {wait_s:g} s"
    )
    return _wait("retry_wait", text, due_at, at=at, zone=policy.time_zone)


def _check_cooldown(situation: Situation, at: datetime) -> Check:
    ends = [run.ended_at for run in situation.starts if run.ended_at is not None]
    if situation.last is not None and situation.last.end is not None:
        ends.append(situation.last.end.at)
    cooldown_s = situation.policy.cooldown_s
    if not ends or not cooldown_s:
        return Check(code="cooldown", passed=True, text=f"cooldown {cooldown_s:g} s, no earlier run")
    text = f"the last run ended {render_moment(max(ends))}, cooldown {cooldown_s:g} s"
    over_at = max(ends) + timedelta(seconds=cooldown_s)
    return _wait("cooldown", text, over_at, at=at, zone=situation.policy.time_zone)


def _wait(code: SkipCode, text: str, until: datetime, *, at: datetime, zone: str) -> Check:
    moment = render_moment(until, time_zone=zone)
    if at >= until:
        return Check(code=code, passed=True, text=f"{text}, over since {moment}")
    return Check(code=code, passed=False, text=f"{text}, not before {moment}", not_before=until)


def _check_runs_a_day(situation: Situation, at: datetime) -> Check:
    limit, zone = situation.policy.runs_per_day_max, situation.policy.time_zone
    if limit is None:
        return Check(code="budget", passed=True, text="no limit of runs a day")
    begin, end = day_of(at, time_zone=zone)
    number = sum(begin <= run.at < end for run in situation.starts)
    text = f"{number} of {limit} runs a day started on {_date_of(begin, zone)}"
    return _budget(number < limit, text, end, zone=zone)


def _check_minutes_a_day(situation: Situation, at: datetime) -> Check:
    limit, zone = situation.policy.run_minutes_per_day_max, situation.policy.time_zone
    if limit is None:
        return Check(code="budget", passed=True, text="no limit of run minutes a day")
    begin, end = day_of(at, time_zone=zone)
    minutes = _run_minutes(situation.starts, begin, end)
    text = f"{minutes:.1f} of {limit:g} run minutes a day used on {_date_of(begin, zone)}"
    return _budget(minutes < limit, text, end, zone=zone)


def _budget(passed: bool, text: str, day_end: datetime, *, zone: str) -> Check:
    if passed:
        return Check(code="budget", passed=True, text=text)
    moment = render_moment(day_end, time_zone=zone)
    return Check(code="budget", passed=False, text=f"{text}, not before {moment}", not_before=day_end)


def _date_of(begin: datetime, zone: str) -> str:
    return f"{begin.astimezone(ZoneInfo(zone)):%Y-%m-%d} ({zone})"


def _run_minutes(starts: Sequence[RunStart], begin: datetime, end: datetime) -> float:
    """Minutes of ended runs between the two; of a run over midnight each day counts its own."""
    spans = (
        min(run.ended_at, end) - max(run.at, begin)
        for run in starts
        if run.ended_at is not None and run.ended_at > begin and run.at < end
    )
    return sum(max(span.total_seconds(), 0.0) for span in spans) / 60


def _check_hours(situation: Situation, at: datetime) -> Check:
    hours, zone = situation.policy.hours, situation.policy.time_zone
    if hours is None:
        return Check(code="closed_hours", passed=True, text="open at all hours")
    if is_open(hours, at, time_zone=zone):
        return Check(code="closed_hours", passed=True, text=f"open {hours} {zone}")
    opens_at = next_opening(hours, at, time_zone=zone)
    opens = (
        f"not before {render_moment(opens_at, time_zone=zone)}" if opens_at else "and does not open within two weeks"
    )
    return Check(code="closed_hours", passed=False, text=f"closed: open {hours} {zone}, {opens}", not_before=opens_at)


def _check_slots(situation: Situation) -> Check:
    limit = situation.policy.runs_at_once_max
    running = sorted(rival.task for rival in situation.others if rival.is_running)
    if limit is None:
        return Check(code="no_slot", passed=True, text="no limit of runs at once")
    names = f" ({', '.join(running)})" if running else ""
    text = f"{len(running)} of {limit} slots of all tasks taken{names}"
    return Check(code="no_slot", passed=len(running) < limit, text=text)


def _check_rivals(situation: Situation) -> Check:
    limit = situation.policy.runs_at_once_max
    num_free = (limit or 0) - sum(rival.is_running for rival in situation.others)
    ahead = sorted(_ahead(situation), key=lambda rival: (-rival.priority, rival.task))
    if limit is None or num_free <= 0 or len(ahead) < num_free:
        return Check(code="yields", passed=True, text=f"{len(ahead)} tasks go first")
    names = ", ".join(f"{rival.task} (priority {rival.priority})" for rival in ahead)
    text = (
        f"{num_free} of {limit} slots of all tasks free; {names} come first; "
        f"{situation.task} has priority {situation.policy.priority}"
    )
    return Check(code="yields", passed=False, text=text)


def _ahead(situation: Situation) -> Iterator[Rival]:
    """Tasks that wait for a slot and go first: of higher priority, or equal and longer without a run."""
    started_at = max((run.at for run in situation.starts), default=_NEVER)
    for rival in situation.others:
        if not rival.is_due or rival.is_running:
            continue
        waits_longer = (rival.last_started_at or _NEVER, rival.task) < (started_at, situation.task)
        if rival.priority > situation.policy.priority or (rival.priority == situation.policy.priority and waits_longer):
            yield rival
