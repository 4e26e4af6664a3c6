"""What a server of the stack is: plain values, made by planning, carried out by the supervisor."""

import hashlib
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from embedded.control_plane.host.liveness import HangLimits

State = Literal["waiting", "starting", "ready", "restarting", "failed", "stopped"]
"""waiting: for what it depends on. restarting: it ended, and the next start is due. failed: it never became ready."""


class ReadyCheck(BaseModel):
    """A server is ready when GET `path` answers 200, on a loopback port or on a unix socket."""

    model_config = ConfigDict(frozen=True)

    path: str
    port: int = 0
    unix_socket: Path | None = None
    within_s: float = Field(60.0, gt=0)
    """A start that takes longer is ended and counts as failed."""

    @property
    def url(self) -> str:
        """For people."""
        return (
            f"unix://{self.unix_socket} {self.path}" if self.unix_socket else f"http://127.0.0.1:{self.port}{self.path}"
        )


class Service(BaseModel):
    """One server: how to start it, when it is ready, how to stop it."""

    model_config = ConfigDict(frozen=True)

    name: str
    command: tuple[str, ...]
    env: dict[str, str] = Field(default_factory=dict, repr=False)
    """On top of `ratchet.settings.child_env`. Credentials go here, never into `command`, which anybody may read."""
    cwd: Path
    port: int
    other_ports: tuple[int, ...] = ()
    """Those that it needs as well, and no client of ours uses."""
    log: Path
    ready: ReadyCheck
    depends_on: tuple[str, ...] = ()
    stop_grace_s: float = 10.0
    """From SIGTERM to SIGKILL."""
    hangs: HangLimits = HangLimits()
    """How long the ready check may fail once it was ready."""


class StackPlan(BaseModel):
    """All that the supervisor needs. It travels through a pipe, because it holds credentials."""

    model_config = ConfigDict(frozen=True)

    stack_id: str
    """Every process of the stack carries it in its environment: how leftovers are told from strangers."""
    report: Path
    """Where the supervisor keeps a StackReport."""
    lock: Path
    endpoints: dict[str, str]
    services: tuple[Service, ...]
    keeper_lock: Path | None = None
    """Held by the supervisor's keeper. None: there is none, and the servers die with the supervisor."""
    configuration: str = ""
    """What the servers read from files (the profile); one that was started with another is not adopted."""

    @property
    def is_lasting(self) -> bool:
        """Whether the servers outlive the supervisor, and the next one adopts them."""
        return self.keeper_lock is not None

    def mark_of(self, service: Service) -> str:
        """Stands in the environment of its process: by name, and by all that it was started with."""
        text = service.model_dump_json() + self.configuration
        return f"{service.name}:{hashlib.sha256(text.encode()).hexdigest()[:32]}"


class ServiceReport(BaseModel):
    """How one server is doing."""

    model_config = ConfigDict(frozen=True)

    name: str
    port: int
    log: Path
    ready: ReadyCheck
    state: State = "waiting"
    pid: int | None = None
    started_at_ticks: int | None = None
    """With the pid, names one process for ever (see embedded.control_plane.host.processes)."""
    restarts: int = 0
    ready_after_s: float | None = None
    detail: str = ""
    """Why it is not ready."""


class ProcessName(BaseModel):
    """Names one process permanently (see embedded.control_plane.host.processes)."""

    model_config = ConfigDict(frozen=True)

    pid: int
    started_at_ticks: int


class SupervisorReport(ProcessName):
    restarts: int = 0
    keeper: ProcessName | None = None
    """The process that starts it again."""


class StackReport(BaseModel):
    """stack.json: rewritten at every change of a server's state."""

    model_config = ConfigDict(frozen=True)

    stack_id: str
    endpoints: dict[str, str]
    services: tuple[ServiceReport, ...]
    supervisor: SupervisorReport

    @property
    def is_ready(self) -> bool:
        return all(service.state == "ready" for service in self.services)
