"""`python -m sensors.label_sensor --port P`: the sensor as a service, on the loopback interface unless told otherwise.

Elsewhere it listens only with a token (RATCHET_SENSOR_TOKEN), which then has to come with every notification.
"""

import argparse
import socket
import threading

from ratchet import wiring
from ratchet.actions.runs.schedules import reconcile_schedules
from ratchet.core.errors import RatchetError, SettingsError
from ratchet.settings import Settings
from sensors.label_sensor.app import SensorApp, make_app
from sensors.label_sensor.loop import SensorLoop
from sensors.label_sensor.metrics import SensorMetrics
from sensors.label_sensor.policies import PolicyFiles
from sensors.label_sensor.rivals import rivals_of
from sensors.label_sensor.schedule_keeper import ScheduleKeeper
from sensors.label_sensor.task_code import TaskCodes
from sensors.label_sensor.tick import TickReport, tick
from sensors.label_sensor.tick_archive import TickWriter
from sensors.label_sensor.tick_log import TickLog
from sensors.service import serve
from wire.loopback import is_loopback

# Of 15 s until SIGKILL the ticks (8 s), the schedules (1 s) and requests under way (3 s) leave 3 s.
_WRITE_LAST_WITHIN_S = 1.5


def main() -> None:
    arguments = _parse_arguments()
    try:
        settings = wiring.settings()
        check_host(arguments.host, settings)
        service = make_service(settings)
    except RatchetError as error:
        raise SystemExit(f"error: {error}") from None
    serve(make_app(service), settings, host=arguments.host, port=arguments.port)


def make_service(settings: Settings) -> SensorApp:
    """The loop, its memory and its numbers, over the real ports."""
    policies, metrics, turn = PolicyFiles(), SensorMetrics(), threading.Lock()
    ticks = TickLog(by=socket.gethostname())
    codes = TaskCodes(wiring.code_digest, lambda task: wiring.task_checks().check([wiring.task_spec(task)])[0])
    writer = TickWriter(ticks, wiring.tick_archive())

    keeper = ScheduleKeeper(
        lambda wanted: reconcile_schedules(wiring.pipeline_catalog(), wanted),
        wiring.wanted_schedules,
        wiring.schedules_path(),
    )

    def start() -> None:
        writer.start()
        keeper.start()

    def stop() -> None:
        keeper.stop()
        writer.stop(timeout_s=_WRITE_LAST_WITHIN_S)

    def tick_task(task: str) -> TickReport:
        return tick(
            wiring.retrain_ports(),
            policies.fetch(task),
            task=task,
            code=codes.look(task, policy_digest=policies.fetch(task).digest),
            try_code=lambda: codes.try_out(task, policy_digest=policies.fetch(task).digest),
            others=lambda: rivals_of(task, loop.last_seen(), priorities=loop.priorities()),
            turn=turn,
            tell=loop.see,
        )

    loop = SensorLoop(
        tick_task,
        wiring.task_names,
        interval_s=settings.sensor_interval_s,
        priority_of=lambda task: policies.fetch(task).trigger.priority,
        ticks=ticks,
        on_tick=metrics.note_tick,
        on_gone=metrics.forget,
    )
    return SensorApp(
        loop=loop,
        list_tasks=wiring.task_names,
        labels_bucket=settings.labels_bucket,
        token=settings.sensor_token.get_secret_value(),
        metrics=metrics,
        at_start=start,
        at_stop=stop,
        heartbeats=(writer.heartbeat, keeper.heartbeat),
    )


def check_host(host: str, settings: Settings) -> None:
    """SettingsError when anybody on the network could make the sensor look."""
    if not is_loopback(host) and not settings.sensor_token.get_secret_value():
        raise SettingsError(
            f"RATCHET_SENSOR_TOKEN is not set, so the sensor does not listen on {host}: any program there could "
            f"trigger it. Set it (`openssl rand -base64 32`) here and in the object store's webhook, or listen on "
            f"127.0.0.1."
        )


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m sensors.label_sensor",
        description=__doc__,
        epilog="example: python -m sensors.label_sensor --host 0.0.0.0 --port 18900",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--host", default="127.0.0.1", help="another one than loopback needs RATCHET_SENSOR_TOKEN")
    return parser.parse_args()


if __name__ == "__main__":
    main()
