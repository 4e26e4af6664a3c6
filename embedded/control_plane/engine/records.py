"""What is remembered of a run and of its tasks. The database holds these; the planner decides from them alone."""

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Any

from pydantic import BaseModel, ConfigDict

from embedded.control_plane.engine.values import Values

ROOT = ""
"""Path of the run's outermost DAG. A task in it has its name as path, and so on: `for-loop-2/0/train`."""


class TaskState(StrEnum):
    PENDING = "PENDING"
    RUNNING = "RUNNING"
    SUCCEEDED = "SUCCEEDED"
    SKIPPED = "SKIPPED"
    FAILED = "FAILED"
    CANCELED = "CANCELED"

    @property
    def is_final(self) -> bool:
        return self not in (TaskState.PENDING, TaskState.RUNNING)


class TaskKind(StrEnum):
    DAG = "dag"
    LOOP = "loop"
    ITERATION = "iteration"
    CONTAINER = "container"
    IMPORTER = "importer"

    @property
    def is_leaf(self) -> bool:
        return self in (TaskKind.CONTAINER, TaskKind.IMPORTER)


class TaskRecord(BaseModel):
    model_config = ConfigDict(frozen=True)

    path: str
    name: str
    display_name: str
    kind: TaskKind
    state: TaskState
    inputs: Values = Values()
    outputs: Values = Values()
    error: str = ""
    """Why it failed, or was skipped."""
    num_items: int = 0
    """Of a loop: how many iterations."""
    attempt: int = 0
    """Counts from 0; each retry is one more."""
    num_resumed: int = 0
    """How often this attempt was begun anew because the server died under it."""
    is_cached: bool = False
    is_refused: bool = False
    """It failed by its inputs, before it ran; on a cluster its driver fails."""
    image_note: str = ""
    """What its image would have had and this machine has not; "" when there is nothing to say."""
    created_at: datetime
    started_at: datetime | None = None
    finished_at: datetime | None = None
    retry_at: datetime | None = None
    """While it waits for its next attempt."""


class RunRequest(BaseModel):
    """What the engine needs to know of a run."""

    model_config = ConfigDict(frozen=True)

    run_id: str
    display_name: str
    spec_digest: str
    """Names the pipeline in the store."""
    arguments: dict[str, Any]
    """All input parameters of the root, defaults included."""
    created_at: datetime
    scheduled_at: datetime
    is_canceling: bool = False
    pipeline_root: str = ""
    """"" = the pipeline's own, or else a folder of this backend."""


def child_path(parent: str, name: str | int) -> str:
    return f"{parent}/{name}" if parent else str(name)


def parent_path(path: str) -> str:
    return path.rpartition("/")[0]


Records = Mapping[str, TaskRecord]
