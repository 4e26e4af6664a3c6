"""What can be seen from outside: runs through the KFP API, answers through the gateway, the traffic's own log."""

import json
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx

from ratchet import wiring
from ratchet.core.errors import RatchetError
from ratchet.settings import Settings

FINISHED = frozenset({"SUCCEEDED", "FAILED", "SKIPPED", "CANCELED"})
_RECENT_S = 3.0
_WEIGHT_LOOK_S = 0.15


@dataclass(frozen=True)
class TaskView:
    name: str
    state: str
    duration_s: float | None


@dataclass(frozen=True)
class RunView:
    """One pipeline run, as the KFP API tells it."""

    run_id: str
    name: str
    state: str
    error: str
    tasks: tuple[TaskView, ...]

    @property
    def is_finished(self) -> bool:
        return self.state in FINISHED

    @property
    def progress(self) -> tuple[tuple[str, str], ...]:
        """What changes whenever the run gets on: the state of each task."""
        return tuple((task.name, task.state) for task in self.tasks)

    def state_of(self, task_name: str) -> str:
        """The state of a task, "" when the run never came to it."""
        return next((task.state for task in self.tasks if task.name == task_name), "")


class Runs:
    """The KFP API's runs, over one connection: a client of its own for each look would cost 50 ms each time."""

    def __init__(self, settings: Settings) -> None:
        headers = {"Authorization": f"Bearer {settings.kfp_token.get_secret_value()}"}
        url = f"{settings.kfp_endpoint}/apis/v2beta1"
        self._http = httpx.Client(base_url=url, headers=headers, timeout=10)

    def fetch_newest(self) -> RunView | None:
        """The run that was created last, with its tasks; None when there is none yet."""
        query: dict[str, str | int] = {"page_size": 1, "sort_by": "created_at desc"}
        listed = self._http.get("/runs", params=query).raise_for_status().json()
        if not listed.get("runs"):
            return None
        run_id = listed["runs"][0]["run_id"]
        return _run_view(self._http.get(f"/runs/{run_id}").raise_for_status().json())


def _run_view(run: dict[str, Any]) -> RunView:
    details = run.get("run_details", {}).get("task_details", [])
    return RunView(
        run_id=run["run_id"],
        name=run["display_name"],
        state=run["state"],
        error=(run.get("error") or {}).get("message", ""),
        tasks=tuple(TaskView(task["display_name"], task["state"], _duration_s(task)) for task in details),
    )


def _duration_s(task: dict[str, Any]) -> float | None:
    if not task.get("start_time") or not task.get("end_time"):
        return None
    return (datetime.fromisoformat(task["end_time"]) - datetime.fromisoformat(task["start_time"])).total_seconds()


@dataclass(frozen=True)
class Exchange:
    """One request of the steady traffic and what came back."""

    t: float
    status: int
    revision: str
    model: str
    latency_ms: float


@dataclass
class TrafficLog:
    """The traffic's file, read on as it grows."""

    path: Path
    answers: list[Exchange] = field(default_factory=list)
    _offset: int = 0

    def read_new(self) -> None:
        if not self.path.exists():
            return
        with self.path.open() as file:
            file.seek(self._offset)
            for line in iter(file.readline, ""):
                if not line.endswith("\n"):
                    break
                values = json.loads(line)
                self.answers.append(Exchange(**{name: values[name] for name in Exchange.__dataclass_fields__}))
                self._offset = file.tell()

    def failures(self) -> list[Exchange]:
        return [answer for answer in self.answers if answer.status != httpx.codes.OK]

    def render_recent(self) -> str:
        """The last seconds in one line: rate, who answered, what failed since the start."""
        if not self.answers:
            return "no traffic yet"
        newest = self.answers[-1].t
        recent = [answer for answer in self.answers[-500:] if answer.t > newest - _RECENT_S]
        by_revision = Counter(answer.revision or "no revision" for answer in recent)
        shares = " · ".join(f"{name} {count / len(recent):.0%}" for name, count in sorted(by_revision.items()))
        rate = len(recent) / _RECENT_S
        return f"{rate:.0f} requests/s · {shares} · {len(self.failures())} of {len(self.answers)} failed so far"


def fetch_serving_model(gateway_endpoint: str, task: str, *, num_features: int) -> str:
    """The digest of the model that answers a user's request right now."""
    response = httpx.post(
        f"{gateway_endpoint}/v1/models/{task}:predict", json={"instances": [[8.0] * num_features]}, timeout=10
    )
    return response.raise_for_status().headers["x-ratchet-model"]


@contextmanager
def weights_watched(task: str, seen: list[int]) -> Iterator[None]:
    """Fill `seen` with each new share of traffic of the newest revision, as the InferenceService says it is routed.

    In a thread of its own: a step of the rollout may last a second only, less than a look at all else takes when the
    machine is busy.
    """
    stop = threading.Event()
    seen.clear()

    def look() -> None:
        while not stop.wait(_WEIGHT_LOOK_S):
            with suppress(RatchetError):
                _note_weight(task, seen)

    watcher = threading.Thread(target=look, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        stop.set()
        watcher.join()


def _note_weight(task: str, seen: list[int]) -> None:
    state = wiring.inference_services().fetch(task)
    if state is None or not state.latest_created_revision:
        return
    weight = state.traffic_pct.get(state.latest_created_revision, 0)
    if not seen or seen[-1] != weight:
        seen.append(weight)
