"""`ratchet judge replay`: the canary judge without a cluster, over a recorded rollout or a plain trace of requests."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.names import check_task, complete_task
from cli.output import JsonFlag, print_json, stderr
from ratchet.config_files import load_model
from ratchet.core.errors import DataRejected, NotFound
from ratchet.core.rollout.policy import RolloutPolicy
from ratchet.core.verdict import Verdict

if TYPE_CHECKING:
    from ratchet.core.rollout.history import History

judge = typer.Typer(help="Run the canary judge without a cluster.", no_args_is_help=True)

_TRACE_BYTES_MAX = 512 << 20
_EMBEDDED_POLICY = Path("configs/policies/rollout.yaml")


def add_to(app: typer.Typer) -> None:
    """Add the commands of this group."""
    app.add_typer(judge, name="judge")


@judge.callback()
def judge_() -> None:
    """Run the canary judge without a cluster."""


@judge.command()
def replay(
    trace: Annotated[Path | None, typer.Argument(help="Requests, one JSON line each.", show_default=False)] = None,
    rollout: Annotated[str | None, typer.Option(help="Run id of a recorded rollout, instead of a trace.")] = None,
    task: Annotated[str | None, typer.Option("--task", "-t", help="Its task.", autocompletion=complete_task)] = None,
    policy_path: Annotated[Path, typer.Option("--policy", help="A rollout policy (YAML), for a trace.")] = (
        _EMBEDDED_POLICY
    ),
    report: Annotated[Path | None, typer.Option(help="Also write the report with its charts to this file.")] = None,
    picture: Annotated[bool, typer.Option("--picture", help="Also draw the evidence in the terminal.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Judge a recorded rollout or a trace again. Prints the verdict as JSON, with or without --json.

    A trace has one line per request: {"t": seconds, "revision": "stable"|"canary", "status": int, "latency_ms": float};
    it is judged like a live rollout. A recorded rollout is judged by its recorded policy; exit code 1 when a number
    or a decision differs from the record.

    Examples: ratchet judge replay trace.jsonl --report trace.html · ratchet judge replay --rollout 3f0c --task digits
    """
    if (trace is None) == (rollout is None) or (rollout is None) != (task is None):
        raise typer.BadParameter("give a TRACE, or --rollout RUN_ID with --task T")
    if trace is not None:
        verdict, history, title = *_replay_trace(trace, policy_path), f"Replay of {trace.name}"
        differences: list[str] = []
    else:
        assert rollout is not None and task is not None
        check_task(task)
        verdict, history, differences = _replay_rollout(task, rollout)
        title = f"Replay of rollout {rollout} of {task}"
    _show(verdict, history, title=title, report=report, picture=picture)
    if differences:
        stderr.print("\n".join(differences), markup=False)
        raise typer.Exit(1)


def _replay_trace(trace: Path, policy_path: Path) -> tuple[Verdict, "History"]:
    from ratchet.core.rollout.trace import parse_trace, replay

    return replay(parse_trace(_read_bytes(trace), where=str(trace)), load_model(policy_path, RolloutPolicy))


def _replay_rollout(task: str, run_id: str) -> tuple[Verdict, "History", list[str]]:
    """The verdict derived again, and in what it differs from the recorded one: in nothing, or somebody changed it."""
    from ratchet import wiring
    from ratchet.actions.rollout.replay import replay_record

    recorded = wiring.rollout_records().fetch(task, run_id)
    if not recorded.looks:
        raise NotFound(f"Rollout {run_id} of {task} has no recorded look: it ended before its canary was ready.")
    return replay_record(recorded)


def _show(verdict: Verdict, history: "History", *, title: str, report: Path | None, picture: bool) -> None:
    from ratchet.core.rollout.report import render_report, render_terminal

    if report is not None:
        report.parent.mkdir(parents=True, exist_ok=True)
        report.write_text(render_report(verdict, history, title=title))
    if picture:
        stderr.print(render_terminal(history), markup=False)
    print_json(verdict.model_dump(mode="json"))


def _read_bytes(path: Path) -> bytes:
    try:
        if path.stat().st_size > _TRACE_BYTES_MAX:
            raise DataRejected(
                f"{path} exceeds the limit of {_TRACE_BYTES_MAX >> 20} MiB. Split it into shorter traces."
            )
        return path.read_bytes()
    except (FileNotFoundError, IsADirectoryError):
        raise NotFound(f"{path} is not a file. Name an existing file.") from None
