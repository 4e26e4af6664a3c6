"""`python -m sensors.label_sensor --port P`: the sensor as a service on the loopback interface."""

import argparse
import logging

import uvicorn

from ratchet import wiring
from sensors.label_sensor.app import make_app
from sensors.label_sensor.loop import SensorLoop
from sensors.label_sensor.policies import PolicyFiles
from sensors.label_sensor.tick import TickReport, tick


def main() -> None:
    arguments = _parse_arguments()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    logging.getLogger("urllib3").setLevel(logging.ERROR)  # it warns at each retry; our ticks say it once
    policies = PolicyFiles()

    def tick_task(task: str) -> TickReport:
        return tick(wiring.retrain_ports(), policies.fetch(task), task=task)

    loop = SensorLoop(tick_task, wiring.task_names, interval_s=wiring.settings().sensor_interval_s)
    app = make_app(loop, wiring.task_names)
    uvicorn.run(
        app,
        host=arguments.host,
        port=arguments.port,
        log_level="warning",
        access_log=False,
        timeout_graceful_shutdown=3,
    )


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m sensors.label_sensor", description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--host", default="127.0.0.1", help="loopback: it asks for no password")
    return parser.parse_args()


if __name__ == "__main__":
    main()
