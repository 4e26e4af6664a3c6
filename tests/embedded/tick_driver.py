"""One tick of the sensor in a process of its own, killed at a named point: `python tick_driver.py TASK POINT`."""

import logging
import os
import signal
import sys

from ratchet import wiring
from ratchet.core.trigger import TriggerPolicy
from sensors.label_sensor.policies import TaskPolicy
from sensors.label_sensor.tick import tick

POLICY = TaskPolicy(trigger=TriggerPolicy(threshold=2, retry_wait_s=0), digest="policy")


def main(task: str, wanted: str) -> None:
    logging.basicConfig(level=logging.INFO)

    def at(point: str) -> None:
        if point == wanted:
            os.kill(os.getpid(), signal.SIGKILL)

    report = tick(wiring.retrain_ports(), POLICY, task=task, at=at)
    sys.stdout.write(report.model_dump_json())


if __name__ == "__main__":
    main(*sys.argv[1:])
