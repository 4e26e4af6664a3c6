"""From settings, ports and credentials to the servers of a stack. Pure: nothing is started or written here."""

import sys
from collections.abc import Sequence
from pathlib import Path

import yaml
from pydantic import BaseModel, ConfigDict, SecretStr

from embedded import gateway, object_store, tracking
from embedded.credentials import Credentials
from embedded.layout import Layout
from embedded.ports import StackPorts
from embedded.services import ReadyCheck, Service, StackPlan
from ratchet.core.digest import digest_of_bytes
from ratchet.packaged import packaged_runtimes
from ratchet.settings import PROFILE_VARIABLE, Settings, render_variables, variable_of

CONTROL_PLANE, SENSOR, GUARD = "control_plane", "sensor", "guard"
SERVING_SECRET = "ratchet-serving"  # noqa: S105 - the name of a secret, not its value
ALL_SERVICES = (object_store.NAME, tracking.NAME, gateway.NAME, CONTROL_PLANE, SENSOR, GUARD)

WARM_MODULES = (
    *("kfp.dsl.executor", "pydantic", "httpx", "orjson", "pandas", "pyarrow.parquet", "pyarrow.compute"),
    *("scipy.special", "mlflow", "torch", "great_expectations"),
)
"""What the steps import besides our own code, for 3 to 6 s of CPU each (benchmarks/warm_steps.py)."""
WARM_VARIABLES = ("_KFP_RUNTIME=true", "MLFLOW_DISABLE_TELEMETRY=true")
"""What every step has set itself before it imports them: kfp without its compiler, MLflow without its telemetry."""


class Site(BaseModel):
    """What one stack is made of, before its servers are described."""

    model_config = ConfigDict(frozen=True)

    layout: Layout
    project_dir: Path
    """Where the user's code is: `configs/`, tasks of their own."""
    ports: StackPorts
    credentials: Credentials
    socket_dir: Path
    """A path short enough for unix sockets."""
    services: tuple[str, ...] = ALL_SERVICES
    is_lasting: bool = True
    """Whether the servers outlive the process that started them."""

    @property
    def admin_socket(self) -> Path:
        """Of Envoy."""
        return self.socket_dir / "admin.sock"

    def url_of(self, service: str) -> str:
        """Empty when this stack does not have that server."""
        port_names = {object_store.NAME: "s3", tracking.NAME: "mlflow"}
        port = getattr(self.ports, port_names.get(service, service))
        return f"http://127.0.0.1:{port}" if service in self.services else ""


def plan_settings(base: Settings, site: Site) -> Settings:
    """`base` with the endpoints and credentials of this stack: what its profile and its secret `ratchet` hold."""
    layout, credentials = site.layout, site.credentials
    return base.model_copy(
        update={
            "state_dir": layout.state_dir,
            "configs_dir": site.project_dir / base.configs_dir,
            "s3_endpoint": site.url_of(object_store.NAME),
            "s3_access_key": credentials.s3.access_key,
            "s3_secret_key": SecretStr(credentials.s3.secret_key),
            "dataset_repo": str(layout.dataset_repo),
            "signing_key_file": base.signing_key_file or str(layout.signing_key),
            "trusted_keys_file": base.trusted_keys_file or str(layout.trusted_keys),
            "kfp_endpoint": site.url_of(CONTROL_PLANE),
            "kfp_token": SecretStr(credentials.kfp_token),
            "kubernetes_endpoint": site.url_of(CONTROL_PLANE),
            "kubernetes_token": SecretStr(credentials.kubernetes_token),
            "training_dir": str(layout.state_dir / "training"),
            "mlflow_endpoint": site.url_of(tracking.NAME),
            "mlflow_token": SecretStr(credentials.mlflow_token),
            "gateway_endpoint": site.url_of(gateway.NAME),
            "envoy_admin_endpoint": f"unix://{site.admin_socket}" if gateway.NAME in site.services else "",
            "sensor_endpoint": site.url_of(SENSOR),
            "sensor_token": SecretStr(credentials.sensor_token),
            "guard_endpoint": site.url_of(GUARD),
            "guard_token": SecretStr(credentials.guard_token),
        }
    )


def plan_serving_secret(settings: Settings, credentials: Credentials) -> dict[str, str]:
    """What the model servers are told: where the payload log goes, where images may be, a key for these alone, and
    whose signatures count."""
    names = (
        *("s3_endpoint", "s3_region", "ratchet_bucket", "image_buckets", "payload_sample_ratio"),
        *("trusted_keys_file", "unsigned_models"),
    )
    own = {
        variable_of("s3_access_key"): credentials.serving_s3.access_key,
        variable_of("s3_secret_key"): credentials.serving_s3.secret_key,
    }
    return {variable_of(name): str(getattr(settings, name)) for name in names} | own


def plan_stack(settings: Settings, site: Site) -> StackPlan:
    """The servers of this stack, and where they will be."""
    layout = site.layout
    services = (
        object_store.object_store_service(layout, ports=site.ports, socket_dir=site.socket_dir),
        tracking.tracking_service(layout, ports=site.ports, credentials=site.credentials, s3_region=settings.s3_region),
        gateway.gateway_service(layout, ports=site.ports, admin_socket=site.admin_socket),
        _control_plane_service(site, settings),
        _sensor_service(site),
        _guard_service(site),
    )
    return StackPlan(
        stack_id=site.credentials.stack_id,
        report=layout.report,
        lock=layout.supervisor_lock,
        keeper_lock=layout.keeper_lock if site.is_lasting else None,
        configuration=digest_of_bytes(render_profile(settings).encode()),
        endpoints=endpoints_of(settings),
        services=tuple(_keep_known(service, site.services) for service in services if service.name in site.services),
    )


def buckets_of(settings: Settings) -> tuple[str, ...]:
    named = (settings.labels_bucket, settings.models_bucket, settings.ratchet_bucket, settings.dvc_bucket)
    return tuple(dict.fromkeys((*named, object_store.MLFLOW_BUCKET)))


def endpoints_of(settings: Settings) -> dict[str, str]:
    """By the names that `ratchet status` uses."""
    return {
        "kfp": settings.kfp_endpoint,
        "kubernetes": settings.kubernetes_endpoint,
        "mlflow": settings.mlflow_endpoint,
        "s3": settings.s3_endpoint,
        "gateway": settings.gateway_endpoint,
        "sensor": settings.sensor_endpoint,
    }


def render_kubeconfig(settings: Settings) -> str:
    """For `kubectl` and the Kubernetes clients. The token stands twice: kubectl sends a user's token over TLS only, but
    the password of a URL always."""
    scheme, _, address = settings.kubernetes_endpoint.partition("://")
    server = f"{scheme}://ratchet:{settings.kubernetes_token.get_secret_value()}@{address}"
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "embedded", "cluster": {"server": server}}],
        "users": [{"name": "ratchet", "user": {"token": settings.kubernetes_token.get_secret_value()}}],
        "contexts": [
            {
                "name": "embedded",
                "context": {"cluster": "embedded", "user": "ratchet", "namespace": settings.namespace},
            }
        ],
        "current-context": "embedded",
    }
    return yaml.safe_dump(config, sort_keys=False)


def render_profile(settings: Settings) -> str:
    head = "# Written by `ratchet up` at every start; edits are lost. Variables of the environment win.\n"
    return head + render_variables(settings.as_env() | settings.client_env())


def _keep_known(service: Service, names: Sequence[str]) -> Service:
    """Without dependencies on servers that this stack does not have."""
    return service.model_copy(update={"depends_on": tuple(name for name in service.depends_on if name in names)})


def _control_plane_service(site: Site, settings: Settings) -> Service:
    layout = site.layout
    options = {
        "port": site.ports.control_plane,
        "data-dir": layout.control_plane,
        "secrets-dir": layout.secrets,
        "xds-dir": layout.xds,
        "gateway-url": f"http://127.0.0.1:{site.ports.gateway}",
        "runtimes-dir": packaged_runtimes(),
        "project-dir": site.project_dir,
        "token-file": layout.token,
        "kfp-token-file": layout.kfp_token,
        "task-runtime": settings.task_runtime,
    }
    arguments = [text for name, value in options.items() for text in (f"--{name}", str(value))]
    if settings.task_runtime == "process":
        arguments += ["--warm-modules", ",".join(WARM_MODULES)]
        arguments += [text for pair in WARM_VARIABLES for text in ("--warm-variable", pair)]
    if site.is_lasting:
        arguments.append("--leave-model-servers")
    return Service(
        name=CONTROL_PLANE,
        command=(sys.executable, "-m", "embedded.control_plane", *arguments),
        cwd=site.project_dir,
        port=site.ports.control_plane,
        log=layout.log_of(CONTROL_PLANE),
        ready=ReadyCheck(port=site.ports.control_plane, path="/healthz", within_s=60),
        depends_on=(object_store.NAME,),
        stop_grace_s=20,
    )


def _sensor_service(site: Site) -> Service:
    return _watcher(site, SENSOR, module="sensors.label_sensor", depends_on=(object_store.NAME, CONTROL_PLANE))


def _guard_service(site: Site) -> Service:
    return _watcher(site, GUARD, module="sensors.guard", depends_on=(object_store.NAME, CONTROL_PLANE, gateway.NAME))


def _watcher(site: Site, name: str, *, module: str, depends_on: tuple[str, ...]) -> Service:
    """A service of ours that looks every few seconds."""
    port = getattr(site.ports, name)
    return Service(
        name=name,
        command=(sys.executable, "-m", module, "--port", str(port)),
        env={PROFILE_VARIABLE: str(site.layout.profile)},
        cwd=site.project_dir,
        port=port,
        log=site.layout.log_of(name),
        ready=ReadyCheck(port=port, path="/healthz", within_s=60),
        depends_on=depends_on,
        stop_grace_s=15,
    )
