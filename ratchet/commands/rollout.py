"""Commands that watch a rollout, undo one, and judge a recorded one."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any
from uuid import uuid4

import typer
import yaml
from pydantic import ValidationError

from ratchet.commands.output import JsonFlag, TaskOption, print_json, print_rows, stderr
from ratchet.core.errors import DataRejected, NotFound, PolicyError, Unavailable
from ratchet.core.ledger import LedgerEntry, champion_of, previous_of
from ratchet.core.ports import ServiceState, TrafficStats
from ratchet.core.rollout.policy import RolloutPolicy

_TRACE_BYTES_MAX = 512 << 20
_EMBEDDED_POLICY = Path("configs/policies/rollout.yaml")


def add_to(app: typer.Typer) -> None:
    """Add `rollback`, `rollout status` and `judge replay`."""
    rollout_app = typer.Typer(help="Look at a rollout in progress.", no_args_is_help=True)
    rollout_app.command("status")(show_status)
    judge_app = typer.Typer(help="The canary judge without a cluster.", no_args_is_help=True)
    judge_app.command("replay")(replay_trace)
    app.add_typer(rollout_app, name="rollout")
    app.add_typer(judge_app, name="judge")
    app.command("rollback")(roll_back_task)


def roll_back_task(
    task: TaskOption,
    reason: Annotated[str, typer.Option(help="Why; it goes into the ledger.")] = "asked for on the command line",
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Close an open canary, else put the previous champion back; the model that leaves is refused from now on.

    Example: ratchet rollback --task digits --reason "wrong answers for 7s" --yes
    """
    from ratchet import wiring
    from ratchet.actions.rollouts import open_rollout_of, roll_back

    policy = wiring.policy(task, "rollout", RolloutPolicy)
    ports = wiring.rollout_ports()
    entries = ports.ledger.list_entries(task)
    plan = _plan_of(open_rollout_of(ports.services.fetch(task), entries), entries)
    if plan and not yes:
        typer.confirm(f"{task}: {plan}?", abort=True, err=True)
    if plan:
        stderr.print(f"{task}: {plan}; waiting for the new revision to become ready")
    after = roll_back(ports, task=task, reason=reason, run_id=f"cli-{uuid4().hex[:12]}", ready_s_max=policy.ready_s_max)
    if as_json:
        print_json({"task": task, "champion": after.model_dump(mode="json"), "reason": reason})
    else:
        stderr.print(f"{task}: version {after.version} serves")


def show_status(task: TaskOption, as_json: JsonFlag = False) -> None:
    """Which revision has how much traffic, and what the gateway counted for it.

    Example: ratchet rollout status --task digits
    """
    from ratchet import wiring

    ports = wiring.rollout_ports()
    state = ports.services.fetch(task)
    if state is None:
        raise NotFound(f"No InferenceService {task} yet: `ratchet run retrain --task {task}` deploys its first model.")
    champion = champion_of(ports.ledger.list_entries(task))
    rows = [_revision_row(state, revision, ports.stats) for revision in _revisions_of(state)]
    if as_json:
        print_json(
            {
                "task": task,
                "champion": champion.model_dump(mode="json") if champion else None,
                "service": state.model_dump(mode="json"),
                "revisions": rows,
            }
        )
        return
    stderr.print(f"{task}: champion version {champion.version if champion else 'none'}, {state.message or 'ready'}")
    print_rows(rows, columns=("revision", "role", "weight_pct", "num_requests", "num_errors"), as_json=False)


def replay_trace(
    trace: Annotated[Path, typer.Argument(help="Requests, one JSON line each.", show_default=False)],
    policy_path: Annotated[Path, typer.Option("--policy", help="A rollout policy (YAML).")] = _EMBEDDED_POLICY,
    report: Annotated[Path | None, typer.Option(help="Also write the page with the picture here.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="The verdict is JSON with or without this.")] = False,
) -> None:
    """Judge a recorded trace as a live rollout would have been; prints the verdict as JSON.

    A line is {"t": seconds, "revision": "stable"|"canary", "status": int, "latency_ms": float}.

    Example: ratchet judge replay trace.jsonl --policy configs/policies/rollout.yaml --report trace.html
    """
    from ratchet.core.rollout.report import render_report
    from ratchet.core.rollout.trace import parse_trace, replay

    verdict, history = replay(parse_trace(_read_text(trace), where=str(trace)), load_policy(policy_path))
    if report is not None:
        report.parent.mkdir(parents=True, exist_ok=True)
        report.write_text(render_report(verdict, history, title=f"Replay of {trace.name}"))
    print_json(verdict.model_dump(mode="json"))


def _plan_of(open_uri: str, entries: Sequence[LedgerEntry]) -> str:
    """What a rollback would do, "" when there is nothing that it could."""
    champion, previous = champion_of(entries), previous_of(entries)
    if champion is not None and open_uri:
        return f"close the rollout of {open_uri}, keep version {champion.version}"
    if champion is not None and previous is not None:
        return f"replace version {champion.version} by version {previous.version}"
    return ""


def load_policy(path: Path) -> RolloutPolicy:
    """A rollout policy from a YAML file; PolicyError names the field that is wrong."""
    try:
        return RolloutPolicy.model_validate(yaml.safe_load(_read_text(path)))
    except yaml.YAMLError as error:
        raise PolicyError(f"{path} is not YAML: {error}. Correct the file.") from None
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"]) or "the file"
        raise PolicyError(f"{path}: {field}: {first['msg']}. RolloutPolicy lists the fields.") from None


def _read_text(path: Path) -> str:
    try:
        if path.stat().st_size > _TRACE_BYTES_MAX:
            raise DataRejected(f"{path} is over {_TRACE_BYTES_MAX >> 20} MiB. Cut it into shorter traces.")
        return path.read_text(encoding="utf-8")
    except (FileNotFoundError, IsADirectoryError):
        raise NotFound(f"{path} is not a file here. Name an existing one.") from None
    except UnicodeDecodeError as error:
        raise DataRejected(f"{path}: byte {error.start} is not UTF-8. Write the file as UTF-8 text.") from None


def _revisions_of(state: ServiceState) -> tuple[str, ...]:
    names = (state.stable_revision, state.canary_revision, *sorted(state.traffic_pct))
    return tuple(dict.fromkeys(name for name in names if name))


def _revision_row(state: ServiceState, revision: str, stats: TrafficStats) -> dict[str, Any]:
    """One revision; its counts are empty while the gateway does not tell them."""
    roles = {state.stable_revision: "stable", state.canary_revision: "canary"}
    row: dict[str, Any] = {
        "revision": revision,
        "role": roles.get(revision, ""),
        "weight_pct": state.traffic_pct.get(revision, 0),
    }
    try:
        counts = stats.fetch_counts(revision)
    except Unavailable as error:
        stderr.print(f"no traffic numbers: {error}", markup=False)
        return row | {"num_requests": None, "num_errors": None}
    return row | {"num_requests": counts.num_requests, "num_errors": counts.num_errors}
