"""`ratchet demo`: the whole loop on real data, told in four acts."""

import sys
import time
from contextlib import ExitStack
from typing import Annotated, Any

import typer

from cli.extras import check_installed
from cli.output import JsonFlag, print_json, stderr, stdout


def add_to(app: typer.Typer) -> None:
    app.command("demo")(demo)


def demo(
    rate: Annotated[float, typer.Option("--rate", min=1, max=1000, help="User requests per second.")] = 80,
    stop: Annotated[bool, typer.Option("--stop/--keep", help="Stop the stack at the end.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Run the whole loop on this machine: labels, training, canary, promotion, rollback. About 5 minutes.

    Exits 0 only when all checks passed. The stack stays up afterwards, so that you can look around; the next demo
    first removes it with all its data. A stack that no demo started is never touched.

    Example: ratchet demo
    """
    check_installed("embedded", who="ratchet demo")
    from demo import stage
    from demo.data import load_scans
    from demo.observe import TrafficLog
    from demo.screen import Screen
    from demo.story import Story, tell

    started = time.monotonic()
    screen = Screen(stderr if as_json else stdout)
    configs = stage.prepare()
    settings = stage.start_stack(configs)
    ready_s = time.monotonic() - started
    with ExitStack() as stack:
        story = Story(
            settings=settings,
            configs=configs,
            scans=load_scans(),
            screen=screen,
            traffic=TrafficLog(configs.parent / "traffic.jsonl"),
            rate_per_s=rate,
            stack=stack,
        )
        tell(story)
    summary = {
        "went_as_told": story.went_as_told,
        "duration_s": round(time.monotonic() - started, 1),
        "stack_ready_s": round(ready_s, 1),
        "acts_s": {letter: round(seconds, 1) for letter, seconds in story.durations_s.items()},
        "resident_mib_max": story.resident_mib_max,
        "num_requests": len(story.traffic.answers),
        "num_failed": len(story.traffic.failures()),
        "checks": [{"passed": check.passed, "text": check.text} for check in story.checks],
        "endpoints": {
            "mlflow": settings.mlflow_endpoint,
            "kfp": settings.kfp_endpoint,
            "gateway": f"{settings.gateway_endpoint}/v1/models/{stage.TASK}:predict",
        },
    }
    if as_json:
        print_json(summary)
    else:
        _print_summary(summary, is_kept=not stop)
    if stop:
        stage.stop_stack()
    sys.exit(0 if story.went_as_told else 1)


def _print_summary(summary: dict[str, Any], *, is_kept: bool) -> None:
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
    stdout.print("\nLook around: `ratchet models history digits`, `ratchet runs list`, `ratchet status`.")
    stdout.print("`ratchet down` stops the stack.")
