"""How the sensor's view of a task looks to a person."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from rich.text import Text

from cli.words import ago_words, bar, moment_words

_STYLE_OF = {"trigger": "green", "error": "bold red"}


def status_text(row: Mapping[str, Any], *, now: datetime) -> Text:
    """A few lines about one task: how far it is, why it does not start, what ran last, when something will happen."""
    lines = [_headline(row, now=now), _line("why", f"{row['outcome']}: {row['reason']}")]
    if classes := row.get("num_by_class"):
        lines.append(_line("classes", "  ".join(f"{name}: {classes[name]}" for name in sorted(classes))))
    if labelers := row.get("num_by_labeler"):
        lines.append(_line("labelers", "  ".join(f"{name}: {labelers[name]}" for name in sorted(labelers))))
    if num_resent := row.get("num_resent"):
        lines.append(_line("re-sent", f"{num_resent} labels, which do not count"))
    lines.append(_line("last run", _last_run_words(row.get("last_run"), now=now)))
    lines += [_line(name, words) for name, words in _outcome_lines(row.get("last_run"))]
    lines.append(_line("next", _next_words(row, now=now)))
    lines.append(_line("looked", _looked_words(row, now=now)))
    return Text("\n").join(lines)


def tick_row(row: Mapping[str, Any]) -> dict[str, Any]:
    """One entry of the tick log for a table."""
    num_equal = row.get("num_equal", 1)
    return {
        "from": row.get("first_at", row["at"]),
        "to": row["at"] if num_equal > 1 else "",
        "ticks": num_equal,
        "outcome": Text(str(row["outcome"]), style=_STYLE_OF.get(str(row["outcome"]), "")),
        "code": row.get("code"),
        "pending": row.get("num_pending"),
        "threshold": row.get("threshold_now") or row.get("threshold"),
        "reason": (row.get("run_name") and f"{row['reason']} → {row['run_name']}") or row["reason"],
    }


TICK_COLUMNS = ("from", "to", "ticks", "outcome", "code", "pending", "threshold", "reason")


def _headline(row: Mapping[str, Any], *, now: datetime) -> Text:
    pending, threshold = row.get("num_pending"), row.get("threshold_now") or row.get("threshold")
    head = Text(f"{row['task']:<10} ", style="bold")
    if pending is None or not threshold:
        return head.append("pending labels are unknown", style="bold red")
    num_counted = pending - row.get("num_seen", 0)
    style = "green" if num_counted >= threshold else "cyan"
    head.append(bar(num_counted / threshold), style=style).append(f" {num_counted:,} of {threshold:,} labels")
    if threshold != row.get("threshold"):
        head.append(f" (policy: {row['threshold']:,})")
    if row.get("num_seen"):
        head.append(f", {row['num_seen']:,} more seen by the last run")
    if row.get("oldest_at"):
        head.append(f", oldest {_ago(row['oldest_at'], now=now)}")
    return head


def _line(name: str, words: str) -> Text:
    return Text(f"  {name:<9}", style="dim").append(Text(words, style=""))


def _last_run_words(run: Mapping[str, Any] | None, *, now: datetime) -> str:
    if not run:
        return "none yet"
    if run["ended_at"]:
        words = str(run.get("outcome") or "").replace("_", " ")
        return " ".join(filter(None, (run["name"], run["state"], words, _ago(run["ended_at"], now=now))))
    return f"{run['name']} {run['state']}, claimed {_ago(run['claimed_at'], now=now)}"


def _outcome_lines(run: Mapping[str, Any] | None) -> list[tuple[str, str]]:
    """Of a run that promoted nothing: why, and what helps."""
    if not run or not run.get("outcome") or run["outcome"] == "promoted":
        return []
    told = (("  why", run.get("summary")), ("  do", run.get("next_step")))
    return [(name, str(words)) for name, words in told if words]


def _next_words(row: Mapping[str, Any], *, now: datetime) -> str:
    """What would have to happen for a run to start."""
    code, threshold = row.get("code"), row.get("threshold_now") or row.get("threshold") or 0
    missing = threshold - (row.get("num_pending") or 0) + row.get("num_seen", 0)
    at_latest = f"at {_moment(row['not_before'])} by time alone" if row.get("not_before") else ""
    if code == "busy" or row.get("is_running"):
        return "when the run in flight has ended"
    if code == "short" and missing > 0:
        labels = "label" if missing == 1 else "labels"
        return ", or ".join(filter(None, (f"with {missing:,} more {labels}", at_latest)))
    if code in ("broken_task", "needs_change"):
        return "when the task file, its code or a policy has changed, or new labels have arrived"
    return at_latest or "when the reason above is gone"


def _looked_words(row: Mapping[str, Any], *, now: datetime) -> str:
    words = f"{_ago(row['at'], now=now)}"
    if row.get("num_ticks"):
        words += f", {row['num_ticks']:,} ticks since its start"
    return words if row.get("is_live", True) else f"{words}; the sensor does not answer; this is from its log"


def _moment(at: str) -> str:
    return moment_words(datetime.fromisoformat(at))


def _ago(at: str, *, now: datetime) -> str:
    return ago_words(datetime.fromisoformat(at), now=now)
