"""Runs of pipelines."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Protocol

from pydantic import BaseModel, ConfigDict


class RunState(BaseModel):
    """One pipeline run as KFP tells it."""

    model_config = ConfigDict(frozen=True)

    run_id: str
    name: str
    state: str
    """PENDING RUNNING SUCCEEDED SKIPPED FAILED CANCELING CANCELED PAUSED. A run that was terminated is CANCELED."""
    error: str = ""
    created_at: datetime | None = None
    finished_at: datetime | None = None

    @property
    def is_finished(self) -> bool:
        return self.state in {"SUCCEEDED", "SKIPPED", "FAILED", "CANCELED"}

    @property
    def is_green(self) -> bool:
        """Whether it ended without a failure."""
        return self.state in {"SUCCEEDED", "SKIPPED"}


class RunTask(BaseModel):
    """One task of a run; a group (condition, loop, exit handler) is a task that others have as their parent."""

    model_config = ConfigDict(frozen=True)

    task_id: str
    name: str
    state: str
    parent_id: str = ""
    log_node: str = ""
    """What the server calls the place of its log; "" when it has none."""
    started_at: datetime | None = None
    finished_at: datetime | None = None
    error: str = ""


class RunArtifact(BaseModel):
    """One artifact that a task of a run made."""

    model_config = ConfigDict(frozen=True)

    task_id: str
    output: str
    name: str
    type: str = ""
    uri: str = ""
    url: str = ""
    """Where its bytes are to be had over HTTP; "" when the server does not serve them."""


class Pipelines(Protocol):
    """Runs of published pipelines. Raises NotFound, Unavailable, SettingsError, DataRejected."""

    def submit(
        self,
        pipeline: str,
        *,
        run_name: str,
        experiment: str,
        parameters: Mapping[str, Any],
        start_within_s: float | None = None,
    ) -> str:
        """Start the newest published version of a pipeline; gives the run id.

        Unavailable when looking things up takes over `start_within_s`: then nothing was started.
        """

    def find_runs(self, run_name: str) -> Sequence[RunState]:
        """Every run of that display name, archived ones too, oldest first."""

    def list_unfinished(self, experiment: str) -> Sequence[RunState]: ...
    def list_runs(self, *, experiment: str | None = None, limit: int = 20) -> Sequence[RunState]:
        """Newest first, of one experiment or of all."""

    def fetch_run(self, run_id: str) -> RunState: ...
    def fetch_tasks(self, run_id: str) -> Sequence[RunTask]:
        """The tasks of a run, in the order in which they started."""

    def fetch_log(self, run_id: str, task: RunTask) -> str: ...
    def list_artifacts(self, run_id: str) -> Sequence[RunArtifact]: ...
    def fetch_artifact(self, artifact: RunArtifact) -> bytes:
        """The bytes that the server serves of one; NotFound when it serves none, or they were removed."""

    def terminate(self, run_id: str) -> None:
        """Ask a run to stop; one that has ended stays as it is."""

    def retry(self, run_id: str) -> None:
        """Run again what did not succeed of a failed run, and what waits for it; DataRejected when it did not fail."""


class RunTables(Protocol):
    """What the runs of a task left behind of examples: the tables of opinions that went from step to step (Parquet),
    and the pages of `validate`, which name some (HTML)."""

    def list_tables(self, task: str) -> Sequence[str]:
        """Their addresses, each once; NotFound where KFP does not list artifacts, as on a cluster."""

    def list_pages(self, task: str) -> Sequence[str]:
        """As `list_tables`."""

    def fetch(self, uri: str) -> bytes:
        """NotFound when it was removed since; DataRejected when it lies where this process may not write."""

    def replace(self, uri: str, data: bytes) -> None:
        """Put other bytes in its place; without bytes it goes."""
