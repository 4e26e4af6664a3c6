"""canary_deploy in processes that die where they are told: `python -m tests.embedded.rollout_driver`.

Each line of stdin is a Job; each line of stdout says how its process ended. Everything is imported once and each job is
forked from here, so that a process costs 0.05 s, not 2.
"""

import json
import os
import signal
import sys
import tempfile
import traceback
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from components.canary_deploy.step import canary_deploy_step
from ratchet.actions.rollout.ports import RolloutPorts
from ratchet.adapters.clock import SystemClock
from ratchet.adapters.envoy import EnvoyTrafficStats
from ratchet.adapters.gateway import HttpGateway
from ratchet.adapters.kserve import KServeInferenceServices
from ratchet.adapters.s3 import S3ObjectStore
from ratchet.core.models.ledger import ModelRef
from ratchet.core.rollout.policy import RolloutPolicy
from ratchet.settings import Settings, settings_of
from ratchet.stores.ledger import S3Ledger
from ratchet.stores.rollout_orders import RolloutOrders
from ratchet.stores.rollout_record import RolloutRecords
from tests.crash_points import Watched, signal_at
from tests.fakes.registry import FakeRegistry


class Job(BaseModel):
    """One attempt of one rollout."""

    model_config = ConfigDict(frozen=True)

    task: str
    model: ModelRef
    run_id: str
    policy: RolloutPolicy
    variables: dict[str, str]
    die_at: str = ""
    """A point (tests/crash_points.py) of the calls of its ports; "" lives to the end."""


def ports_of(settings: Settings, *, task: str, die_at: str = "") -> RolloutPorts:
    registry = FakeRegistry()
    for version in ("1", "2"):
        registry.register(task, f"s3://models/{task}/{version}", tags={}, metrics={})
    told = partial(Watched, tell=signal_at(die_at))
    objects: Any = told("objects", S3ObjectStore.of(settings))
    ledger: Any = told("ledger", S3Ledger(objects, settings.ratchet_bucket))
    services: Any = told("services", KServeInferenceServices.of(settings))
    gateway: Any = told("gateway", HttpGateway(settings))
    return RolloutPorts(
        services=services,
        stats=EnvoyTrafficStats.of(settings),
        ledger=ledger,
        registry=registry,
        clock=SystemClock(),
        objects=objects,
        records=RolloutRecords(objects, settings.ratchet_bucket),
        orders=RolloutOrders(objects, settings.ratchet_bucket),
        gateway=gateway,
    )


def run(job: Job) -> str:
    with tempfile.TemporaryDirectory() as scratch:
        return canary_deploy_step(
            ports_of(settings_of(job.variables), task=job.task, die_at=job.die_at),
            task=job.task,
            model=job.model,
            run_id=job.run_id,
            policy=job.policy,
            verdict_path=Path(scratch) / "verdict.json",
            report_path=Path(scratch) / "report.html",
        )


def main() -> None:
    signal.signal(signal.SIGCHLD, tell_deaths)
    tell("", "ready")
    for line in sys.stdin:
        job = Job.model_validate_json(line)
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})  # a death is told once its job is known
        _JOBS[fork(job)] = job
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGCHLD})


_JOBS: dict[int, Job] = {}


def fork(job: Job) -> int:
    pid = os.fork()
    if pid == 0:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGCHLD})
        try:
            tell(job.task, run(job))
        except BaseException:
            tell(job.task, "failed", error=traceback.format_exc())
        finally:
            os._exit(0)
    return pid


def tell_deaths(*_: object) -> None:
    """A process that was killed cannot say so itself."""
    with suppress(ChildProcessError):
        while (ended := os.waitpid(-1, os.WNOHANG))[0]:
            job = _JOBS.pop(ended[0])
            if os.WIFSIGNALED(ended[1]):
                tell(job.task, "killed")


def tell(task: str, name: str, *, error: str = "") -> None:
    """One write: lines of several processes do not mix."""
    os.write(1, (json.dumps({"task": task, "name": name, "error": error}) + "\n").encode())


if __name__ == "__main__":
    main()
