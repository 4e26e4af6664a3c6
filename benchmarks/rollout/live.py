"""What users meet, measured with a real gateway, control plane and object store: `python -m benchmarks.rollout.live`.

`measure_kill_under_load`: requests lost when the canary's process is killed (SIGKILL) at 10 % of the traffic.
`measure_withdraw_latency`: from the judge's decision to the last request that the canary is given, record and all.
"""

import argparse
import json
import os
import signal
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx

from embedded.control_plane.kserve.revisions import revision_name
from embedded.object_store import NAME as OBJECT_STORE
from embedded.stack import start_stack, stop_stack
from embedded.state_folder import layout_of
from ratchet.actions.rollout.traffic import set_canary_traffic
from ratchet.adapters.clock import SystemClock
from ratchet.adapters.s3 import S3ObjectStore
from ratchet.core.models.ledger import ModelRef
from ratchet.core.rollout.history import judge_look
from ratchet.core.rollout.policy import RolloutPolicy
from ratchet.core.rollout.progress import Look, begin
from ratchet.core.rollout.window import Window
from ratchet.settings import Settings, parse_profile, settings_of
from ratchet.stores.rollout_record import Checkpoint, RecordWriter, RolloutBegin, RolloutRecords
from tests.embedded.serving_world import ServingWorld, serving_world, wait_for

_GOAL_WITHDRAW_MS_P99 = 200.0
_NUM_USERS = 4
_KILL_LOAD_S = 4.0


@dataclass
class Users:
    """Requests that never stop, each with when it began, its status and the revision that answered."""

    world: ServingWorld
    service: str
    pause_s: float = 0.0
    answers: list[tuple[float, int, str]] = field(default_factory=list)

    @contextmanager
    def asking(self) -> Iterator[None]:
        is_over = threading.Event()
        threads = [threading.Thread(target=self._ask, args=(is_over,)) for _ in range(_NUM_USERS)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            is_over.set()
            for thread in threads:
                thread.join()

    def _ask(self, is_over: threading.Event) -> None:
        url = f"{self.world.config.gateway_url}/v1/models/{self.service}:predict"
        with httpx.Client(timeout=20) as http:
            while not is_over.is_set():
                began_s = time.monotonic()
                try:
                    answer = http.post(url, json={"instances": []})
                    self.answers.append((began_s, answer.status_code, answer.json().get("answer", "")))
                except httpx.HTTPError:
                    self.answers.append((began_s, 0, ""))
                is_over.wait(self.pause_s)


def measure_kill_under_load(world: ServingWorld, *, num_kills: int) -> list[dict[str, Any]]:
    """The canary killed again and again at 10 %; it is started again each time."""
    canary = _deploy_pair(world, "kill")
    users = Users(world, "kill")
    with users.asking():
        for _ in range(num_kills):
            wait_for(lambda: world.condition("kill")["status"] == "True", "both revisions to be ready")
            time.sleep(_KILL_LOAD_S / 2)
            (pid,) = world.pids_of(canary)
            os.kill(pid, signal.SIGKILL)
            time.sleep(_KILL_LOAD_S / 2)
    num_failed = sum(status != httpx.codes.OK for _, status, _ in users.answers)
    return [
        _row("requests lost to a canary killed at 10 %", num_failed, "requests", goal=0, is_ok=num_failed == 0),
        _row("requests while it was killed and came back", len(users.answers), "requests"),
    ]


def measure_withdraw_latency(world: ServingWorld, objects: S3ObjectStore, *, num_times: int) -> list[dict[str, Any]]:
    """From a decision, under load: the look on record, weight 0 asked for and read back; the canary's last request."""
    _deploy_pair(world, "quick")
    users, clock = Users(world, "quick", pause_s=0.001), SystemClock()
    last_ms, read_back_ms = [], []
    with users.asking():
        for number in range(num_times):
            set_canary_traffic(world.services, clock, task="quick", weight_pct=50)
            time.sleep(0.2)
            writer = _writer_with_a_look(objects, run_id=f"withdraw-{number}")
            decided_s = time.monotonic()
            writer.flush(wait_s=0.05)
            set_canary_traffic(world.services, clock, task="quick", weight_pct=0)
            read_back_ms.append((time.monotonic() - decided_s) * 1000)
            writer.close()
            time.sleep(0.1)
            on_canary = [began_s for began_s, _, answer in users.answers if answer == "quick-2"]
            last_ms.append(max(0.0, (max(on_canary) - decided_s) * 1000))
    p99 = statistics.quantiles(last_ms, n=100, method="inclusive")[98]
    return [
        _row("decision to the last request given to the canary, p50", statistics.median(last_ms), "ms"),
        _row(
            "decision to the last request given to the canary, p99",
            p99,
            "ms",
            goal=_GOAL_WITHDRAW_MS_P99,
            is_ok=p99 <= _GOAL_WITHDRAW_MS_P99,
        ),
        _row("decision to 0 % read back by the controller, p50", statistics.median(read_back_ms), "ms"),
    ]


def measure_live(*, is_quick: bool) -> list[dict[str, Any]]:
    with stack() as (world, objects):
        rows = measure_withdraw_latency(world, objects, num_times=15 if is_quick else 100)
        return [*measure_kill_under_load(world, num_kills=2 if is_quick else 5), *rows]


@contextmanager
def stack() -> Iterator[tuple[ServingWorld, S3ObjectStore]]:
    """An object store, a control plane with tiny model servers, and Envoy, on free ports; gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="rl") as folder:
        base = Settings(state_dir=Path(folder) / "state")
        start_stack(base, project_dir=Path(__file__).parents[2], services=(OBJECT_STORE,), is_detached=False)
        try:
            profile = base.state_dir / "profile.env"
            settings = settings_of(parse_profile(profile.read_text(), where=str(profile)))
            with serving_world(settings) as world:
                yield world, S3ObjectStore.of(settings)
        finally:
            stop_stack(layout_of(base))


def _deploy_pair(world: ServingWorld, name: str) -> str:
    """A champion and a canary at 10 %; gives the canary's revision."""
    world.services.deploy(name, world.put_model(f"{name}-1"), canary_traffic_pct=None)
    world.wait_traffic(name, {"00001": 100})
    world.services.deploy(name, world.put_model(f"{name}-2"), canary_traffic_pct=10)
    world.wait_traffic(name, {"00001": 90, "00002": 10})
    return revision_name(name, 2)


def _writer_with_a_look(objects: S3ObjectStore, *, run_id: str) -> RecordWriter:
    policy, now = RolloutPolicy(), datetime.now(UTC)
    model = ModelRef(version="2", digest="2", uri="s3://models/quick/2", dataset_version="")
    champion = model.model_copy(update={"version": "1", "digest": "1"})
    begun = RolloutBegin(task="quick", run_id=run_id, model=model, champion=champion, policy=policy, at=now)
    records = RolloutRecords(objects, "ratchet")
    writer = records.writer(records.begin(begun))
    progress, judged = judge_look(begin(policy), Look(at_s=0.5, window=Window()), policy)
    writer.add(judged, Checkpoint(at=now, progress=progress, limits=None))
    return writer


def _row(name: str, value: float, unit: str, *, goal: float | None = None, is_ok: bool = True) -> dict[str, Any]:
    return {
        "name": name,
        "value": round(value, 1),
        "unit": unit,
        "peer": None,
        "ratio": None,
        "goal": goal,
        "ok": is_ok,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="under a minute")
    rows = measure_live(is_quick=parser.parse_args().quick)
    for row in rows:
        print(f"{row['name']:<75} {row['value']:>10g} {row['unit']:<9} goal {row['goal']}")
    print(json.dumps(rows))


if __name__ == "__main__":
    main()
