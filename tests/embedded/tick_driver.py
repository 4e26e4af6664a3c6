"""Sensors in processes of their own, each stopped at a point of its tick (tests/crash_points.py).

`python -m tests.embedded.tick_driver SIGNAL LEASE_S SKEW_S TASK=POINT…`: one child a task, forked after the imports;
each ticks once, sends itself SIGNAL at its point ("" = never), and prints its report. The parent prints
`pid TASK PID` when a child begins and `end TASK CODE` when it has ended.
"""

import dataclasses
import os
import signal
import sys
from datetime import datetime, timedelta
from typing import Any

from ratchet import wiring
from ratchet.adapters.clock import SystemClock
from ratchet.core.runs import TriggerPolicy
from ratchet.stores.run_journal import RunJournal
from sensors.label_sensor.policies import TaskPolicy
from sensors.label_sensor.tick import tick
from tests.crash_points import Watched, signal_at

POLICY = TaskPolicy(trigger=TriggerPolicy(threshold=2, retry_wait_s=0), digest="policy")


class SkewedClock(SystemClock):
    """A machine whose wall clock is wrong."""

    def __init__(self, skew_s: float) -> None:
        self._skew = timedelta(seconds=skew_s)

    def now(self) -> datetime:
        return super().now() + self._skew


def tick_once(task: str, point: str, *, number: signal.Signals, lease_s: float, skew_s: float) -> None:
    import kfp.client  # noqa: F401 - before the tick: it takes a second, and the lease of a test is short

    ports, tell_of = wiring.retrain_ports(), signal_at(point, number)
    journal = RunJournal(wiring.object_store(), wiring.settings().ratchet_bucket, lease_s=lease_s)
    watched: dict[str, Any] = {
        "journal": Watched("journal", journal, tell_of),
        "pipelines": Watched("pipelines", ports.pipelines, tell_of),
    }
    report = tick(dataclasses.replace(ports, clock=SkewedClock(skew_s), **watched), POLICY, task=task)
    tell(f"report {report.model_dump_json()}")


def tell(line: str) -> None:
    os.write(1, f"{line}\n".encode())


def main(name: str, lease_s: str, skew_s: str, *tasks: str) -> None:
    import kfp.client  # noqa: F401 - once for all children

    children = {}
    for each in tasks:
        task, _, point = each.partition("=")
        pid = os.fork()
        if pid == 0:
            tick_once(task, point, number=signal.Signals[name], lease_s=float(lease_s), skew_s=float(skew_s))
            os._exit(0)
        children[pid] = task
        tell(f"pid {task} {pid}")
    for _ in children:
        pid, status = os.wait()
        tell(f"end {children[pid]} {os.waitstatus_to_exitcode(status)}")


if __name__ == "__main__":
    main(*sys.argv[1:])
