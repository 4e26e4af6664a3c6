"""`python -m sensors.guard --port P`: the guard as a service.

Users send feedback through the gateway, which adds RATCHET_GUARD_TOKEN where that is set.
"""

import argparse
from datetime import UTC, datetime

from ratchet import wiring
from ratchet.actions.retention import sweep
from ratchet.actions.rollout.guard_report import GuardReport
from ratchet.actions.rollout.guarding import GuardPolicies, TaskGuard
from ratchet.actions.space import measure_space
from ratchet.core.errors import RatchetError
from ratchet.core.rollout.guard import GuardPolicy
from ratchet.core.rollout.policy import RolloutPolicy
from ratchet.settings import Settings
from sensors.guard.app import GuardApp, make_app
from sensors.guard.loop import GuardLoop
from sensors.guard.metrics import GuardMetrics
from sensors.guard.sweeping import OBJECTS_PER_PASS, SweepLoop
from sensors.service import serve


def main() -> None:
    arguments = _parse_arguments()
    try:
        settings = wiring.settings()
        service = make_service(settings)
    except RatchetError as error:
        raise SystemExit(f"error: {error}") from None
    serve(make_app(service), settings, host=arguments.host, port=arguments.port)


def make_service(settings: Settings) -> GuardApp:
    """The loop and its memory over the real ports."""
    guards: dict[str, TaskGuard] = {}

    def look(task: str) -> GuardReport:
        wiring.task_spec.cache_clear()  # its file may have been edited since the last look
        policies = GuardPolicies(
            guard=wiring.policy(task, "guard", GuardPolicy), rollout=wiring.policy(task, "rollout", RolloutPolicy)
        )
        if task not in guards:
            guards[task] = TaskGuard(wiring.guard_ports(), task=task)
        return guards[task].look(policies)

    metrics = GuardMetrics()
    loop = GuardLoop(look, wiring.task_names, interval_s=settings.guard_interval_s, on_look=metrics.note_look)
    return GuardApp(
        loop=loop,
        list_tasks=wiring.task_names,
        output_of=lambda task: wiring.output_in_use().of(task),
        feedback=wiring.feedback_store,
        token=settings.guard_token.get_secret_value(),
        metrics=metrics,
        sweeping=SweepLoop(
            lambda: sweep(wiring.retention_ports(), now=datetime.now(UTC), num_max=OBJECTS_PER_PASS),
            lambda: measure_space(wiring.object_store(), wiring.space_kinds(), now=datetime.now(UTC)),
        ),
    )


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m sensors.guard",
        description=__doc__,
        epilog="example: python -m sensors.guard --host 0.0.0.0 --port 18950",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument(
        "--host", default="127.0.0.1", help="0.0.0.0 in a pod; the cluster's network policy protects it"
    )
    return parser.parse_args()


if __name__ == "__main__":
    main()
