"""What the control plane is told when it starts; nothing else configures it."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from embedded.control_plane.host.container_engine import ContainerEngine


class Retention(BaseModel):
    """How long files are kept; 0 is for ever, or without limit."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    keep_days: float = Field(30, ge=0)
    """Days after the end of a run in which its logs and artifacts stay."""
    keep_runs: int = Field(1000, ge=0)
    """So many of the runs that ended last keep their files."""
    disk_quota_gib: float = Field(20, ge=0)
    """Of the logs and artifacts of all runs; the oldest go first."""
    keep_environment_days: float = Field(30, ge=0)
    """Days since a task used an environment of `packages_to_install` last; it is built anew when it is needed."""
    keep_volume_days: float = Field(90, ge=0)
    """Days since a task mounted a volume last. A cluster keeps a claim until somebody deletes it."""


class ControlPlaneConfig(BaseModel):
    """Ports, folders and the token. Every path is absolute."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    port: int = Field(gt=0, lt=65536)
    """Port on 127.0.0.1 of both APIs."""
    data_dir: Path
    """Database, artifacts and logs of the pipelines."""
    secrets_dir: Path
    """`<secret>/<key>` files: what Kubernetes Secrets and ConfigMaps are on one machine."""
    xds_dir: Path
    """Where the serving side writes `cds.json` and `rds.json` for the gateway."""
    gateway_url: str
    """Where user requests enter, for the URLs in InferenceService status."""
    runtimes_dir: Path
    """Folder of ServingRuntime manifests."""
    project_dir: Path
    """Put on PYTHONPATH of each task, so that the modules of the user's project import."""
    token: str
    """Bearer token of the Kubernetes API."""
    kfp_token: str = ""
    """Bearer token of the KFP API; "" asks for none: the server listens on loopback only."""
    leaves_model_servers: bool = False
    """Model servers outlive this process, however it ends; the next control plane adopts them."""
    cron_timezone: str = "UTC"
    """Of the cron schedules that name no zone; CRON_SCHEDULE_TIMEZONE of the real controller."""
    is_lenient: bool = False
    """Values go where a cluster would fail the task; docs/kfp-backend.md lists where."""
    container_engine: ContainerEngine | None = None
    """What runs the images of tasks; None: their commands run as processes of this machine."""
    warm_modules: tuple[str, ...] = ()
    """What one process imports ahead, to fork steps of Python functions from; none: each has its own interpreter."""
    warm_variables: dict[str, str] = Field(default_factory=dict)
    """Set while these modules are imported, and in no step."""
    retention: Retention = Retention()
    """How long the files of finished runs stay."""
    log_limit_mib: int = Field(64, gt=0)
    """Of one attempt of one task; of a longer log the middle is cut out."""
