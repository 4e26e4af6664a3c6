"""Endpoints and credentials: the only module that reads the environment.

Values come from `RATCHET_*` variables, else from the profile file (`.ratchet/profile.env`, written by `ratchet up`;
elsewhere named by `RATCHET_PROFILE`). A profile changes endpoints, never code. Unknown names are refused.

One module, over 300 lines: no other may read the environment, and both products read their settings here.
"""

import difflib
import os
import re
import shlex
import sys
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator

from ratchet.core.errors import SettingsError
from ratchet.packaged import default_configs
from wire.validation_text import first_problem, problem_text

PREFIX = "RATCHET_"
TEST_PREFIX = "RATCHET_TEST_"
"""Of variables that the tests read (docs: CONTRIBUTING.md), not the product."""
PROFILE_VARIABLE = "RATCHET_PROFILE"
STATE_DIR_VARIABLE = "RATCHET_STATE_DIR"
TASK_RUNTIME_VARIABLE = "RATCHET_TASK_RUNTIME"
_ACCESS_PREFIX = "RATCHET_ACCESS_"
"""Of what the gateway requires (embedded/gateway_access.py)."""
_PLAIN = re.compile(r"[\w@%+=:,./-]*")
"""What means itself to a shell, letters of all scripts included."""
_CLIENT_VARIABLES = (
    *("KFP_ENDPOINT", "KF_PIPELINES_ENDPOINT", "KFP_EXISTING_TOKEN"),
    *("MLFLOW_TRACKING_URI", "MLFLOW_TRACKING_TOKEN"),
)
"""Of the `kfp` and `mlflow` commands and their clients; in the profile beside ours."""
MODEL_DIGEST_VARIABLE = "RATCHET_MODEL_DIGEST"
"""Of one model server alone: the digest of the model that it must serve, as the InferenceService's URI names it."""


class Settings(BaseModel):
    """Where everything is. The defaults of the endpoints are empty: `require` says what to do about it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    state_dir: Path = Path(".ratchet")
    """Where the embedded stack keeps its data, logs and generated credentials."""
    configs_dir: Path = Field(default_factory=default_configs)
    """Folder of `tasks/*.yaml` and `policies/*.yaml`: `configs` where there is one, else what Ratchet comes with."""
    namespace: str = "default"
    """Kubernetes namespace of the InferenceServices."""
    training_namespace: str = ""
    """Kubernetes namespace of TrainJobs; empty: `namespace`."""

    git_commit: str = ""
    """Commit of the code that trains: goes into every model's lineage. Images are built with it set."""

    s3_endpoint: str = ""
    s3_access_key: str = ""
    s3_secret_key: SecretStr = SecretStr("")
    s3_region: str = "us-east-1"
    labels_bucket: str = "labels"
    image_buckets: str = ""
    """Where images may be that label lines and requests name by URI, `,` between the buckets. Empty: label lines may
    name images beside the labels, requests none."""
    models_bucket: str = "models"
    ratchet_bucket: str = "ratchet"
    dvc_bucket: str = "dvc"

    dataset_repo: str = ""
    """URL or path of the git repository of dataset versions."""
    kfp_endpoint: str = ""
    kfp_token: SecretStr = SecretStr("")
    """Bearer token of the KFP API; empty for a server that asks for none. `ratchet up` generates one."""
    kubernetes_endpoint: str = ""
    kubernetes_token: SecretStr = SecretStr("")
    kubernetes_ca_file: str = ""
    """PEM file of the CA that issued the API server's certificate; empty: the system's, or that of SSL_CERT_FILE."""
    kubeconfig: str = ""
    """Files that say where the API server is and who asks it, `:` between them, while `kubernetes_endpoint` is empty;
    empty: those of the variable KUBECONFIG."""
    kubernetes_context: str = ""
    """Context of the kubeconfig; empty: its current one."""
    kubernetes_insecure: bool = False
    """Accept a kubeconfig that leaves the server's certificate unchecked."""
    mlflow_endpoint: str = ""
    mlflow_token: SecretStr = SecretStr("")
    """Bearer token of MLflow; empty for a server that asks for none. `ratchet up` generates one."""
    task_runtime: Literal["process", "oci"] = "process"
    """How the embedded stack runs tasks: as processes of this machine, or their images by podman, nerdctl or docker."""
    training_dir: str = ""
    """Folder that the steps of pipelines and the nodes of TrainJobs have at one path, on a volume that they share: for
    tasks that train on several nodes."""
    training_runtime: str = "torch-distributed"
    """ClusterTrainingRuntime of these TrainJobs."""
    gateway_endpoint: str = ""
    """Where user requests enter."""
    gateway_ca_file: str = ""
    """PEM file of the CA that issued the gateway's certificate; empty: the system's, or that of SSL_CERT_FILE."""
    gateway_token: SecretStr = SecretStr("")
    """Bearer token for a gateway that requires one."""
    access_issuer: str = ""
    """Issuer (`iss`) of the tokens that the gateway requires; empty: it requires none."""
    access_audience: str = "ratchet"
    """What a token's `aud` must name."""
    access_jwks: str = ""
    """URL or file of the issuer's public keys (JWKS)."""
    access_leeway_s: int = Field(60, ge=0, le=600)
    """How far the clocks of issuer and gateway may be apart."""
    access_rate_per_s: float = Field(0.0, ge=0, le=1_000_000)
    """Requests per second of one client, which is the subject of a token, or an address without tokens; 0: any."""
    access_burst: int = Field(0, ge=0, le=1_000_000)
    """Requests that a client may send at once after a pause; 0: those of a second."""
    access_request_bytes_max: int = Field(4 << 20, gt=0, le=64 << 20)
    """Of a request's body: the gateway keeps it in memory, to send it again when a revision dies under it."""
    access_connections_max: int = Field(5_000, gt=0)
    """Open connections of all clients together."""
    serving_mode: Literal["knative", "standard"] = "knative"
    """KServe's deployment mode: Knative splits traffic between revisions; in Standard mode an HTTPRoute does."""
    payload_sample_ratio: float = Field(1.0, ge=0, le=1)
    """Share of requests whose features and answers the model servers write to the payload log."""
    traffic_stats: Literal["envoy", "prometheus"] = "envoy"
    """Where traffic numbers come from."""
    envoy_admin_endpoint: str = ""
    prometheus_endpoint: str = ""
    prometheus_token: SecretStr = SecretStr("")
    prometheus_mesh: Literal["knative", "istio"] = "knative"
    """Whose metrics Prometheus holds."""
    signing_key_file: str = ""
    """PEM file of the private key (P-256, P-384 or P-521) that signs models and ledger entries; empty: none is signed.
    `ratchet up` makes one."""
    trusted_keys_file: str = ""
    """PEM file of the public keys whose signatures count, one after the other; empty: no signature is checked."""
    unsigned_models: Literal["warn", "refuse"] = "warn"
    """What happens to a model without a signature, as those from before signing: it loads with a warning, or not at
    all. One whose signature does not match is always refused."""
    sensor_endpoint: str = ""
    sensor_token: SecretStr = SecretStr("")
    """Bearer token of what may make the sensor look now: bucket notifications, `ratchet sensor tick`."""
    sensor_interval_s: float = Field(2.0, gt=0)
    """How long the sensor waits between two looks at the label bucket."""
    guard_endpoint: str = ""
    guard_token: SecretStr = SecretStr("")
    """Bearer token of the guard; the gateway adds it to feedback. Empty for a guard that asks for none."""
    guard_interval_s: float = Field(2.0, gt=0)
    """How long the guard waits between two looks at what serves."""

    @field_validator(
        *("s3_endpoint", "kfp_endpoint", "kubernetes_endpoint", "mlflow_endpoint", "gateway_endpoint"),
        *("envoy_admin_endpoint", "prometheus_endpoint", "sensor_endpoint", "guard_endpoint"),
    )
    @classmethod
    def _check_url(cls, url: str) -> str:
        """Half an IPv6 address, or a port that is no number, would raise in every client."""
        try:
            _ = urlsplit(url).port
        except ValueError as error:
            raise ValueError(f"no URL such as http://127.0.0.1:18800 ({error})") from None
        return url

    @property
    def request_image_buckets(self) -> frozenset[str]:
        """What model servers may read for whoever sends a request."""
        return frozenset(name.strip() for name in self.image_buckets.split(",") if name.strip())

    def require(self, *names: str) -> None:
        """Raise SettingsError for the first of these settings that has no value."""
        for name in names:
            value = getattr(self, name)
            text = value.get_secret_value() if isinstance(value, SecretStr) else str(value)
            if not text:
                raise SettingsError(
                    f"{variable_of(name)} is not set. Start the embedded stack with `ratchet up`, "
                    f"or name a profile of your cluster in {PROFILE_VARIABLE} (see configs/profiles/cluster.env)."
                )

    def as_env(self) -> dict[str, str]:
        """Every setting as the variable that sets it: what a profile file or a Kubernetes Secret holds."""
        return {
            variable_of(name): value.get_secret_value() if isinstance(value, SecretStr) else str(value)
            for name, value in self
        }

    def client_env(self) -> dict[str, str]:
        """The variables that the unmodified clients read, for a shell that sources the profile. `kfp.Client` reads its
        endpoint; its token is an argument: `existing_token=os.environ["KFP_EXISTING_TOKEN"]`."""
        values = (
            *(self.kfp_endpoint, self.kfp_endpoint, self.kfp_token.get_secret_value()),
            *(self.mlflow_endpoint, self.mlflow_token.get_secret_value()),
        )
        return {name: value for name, value in zip(_CLIENT_VARIABLES, values, strict=True) if value}


def variable_of(name: str) -> str:
    return PREFIX + name.upper()


def variable_names() -> tuple[str, ...]:
    """The names of all settings, as variables, in order."""
    return tuple(variable_of(name) for name in Settings.model_fields)


def task_variable_names() -> tuple[str, ...]:
    """Of the variables, those that tasks of pipelines are given: how the embedded stack runs them, and whom the gateway
    lets in, is none of theirs."""
    return tuple(
        name for name in variable_names() if name != TASK_RUNTIME_VARIABLE and not name.startswith(_ACCESS_PREFIX)
    )


@lru_cache(maxsize=1)
def load_settings() -> Settings:
    """The settings of this process. SettingsError names the variable that is unknown or malformed."""
    profile = _profile_path()
    return settings_of({**_read_profile(profile), **_variables_of_env()})


def settings_from_env() -> Settings:
    """What the environment alone says, without any profile: `ratchet up` writes the profile, it does not read one."""
    return settings_of(_variables_of_env())


def variables_set_in_env() -> tuple[str, ...]:
    """The names of the settings that the environment overrides."""
    return tuple(_variables_of_env())


def settings_of(variables: dict[str, str]) -> Settings:
    """Settings from `RATCHET_*` names and values alone; the profile's variables of other programs are skipped."""
    known = set(variable_names())
    ours = {name: value for name, value in variables.items() if name not in _CLIENT_VARIABLES}
    for name in ours:
        if name not in known:
            close = difflib.get_close_matches(
                name.removeprefix(PREFIX), [each.removeprefix(PREFIX) for each in known], n=1
            )
            hint = f" Did you mean {PREFIX}{close[0]}?" if close else ""
            raise SettingsError(f"{name} is not a setting.{hint} `ratchet doctor` lists all settings.")
    values = {name.removeprefix(PREFIX).lower(): value for name, value in ours.items()}
    try:
        return Settings.model_validate(values)
    except ValidationError as error:
        place, details = first_problem(error)
        colon = "" if details["type"] == "value_error" else ":"
        told = problem_text(details, subject=f"{variable_of(str(place[0]))}{colon}")
        raise SettingsError(f"{told}. Correct it in the environment or in the profile file.") from None


def parse_profile(text: str, *, where: str) -> dict[str, str]:
    """`NAME=value` lines; blank lines and `#` comments are skipped. A shell's quotes around a value are taken off."""
    variables = {}
    for number, line in enumerate(text.removeprefix("\ufeff").split("\n"), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        name, separator, value = line.partition("=")
        if not separator:
            raise SettingsError(f"{where}, line {number}: expected NAME=value, found {line!r}.")
        variables[name.strip().removeprefix("export ").strip()] = _unquoted(value.strip())
    return variables


def render_variables(variables: Mapping[str, str]) -> str:
    """`NAME=value` lines for `parse_profile`, and for a shell that sources them.

    A value of plain characters is bare, so that `docker --env-file` reads it too; that one knows no quotes.
    """
    lines = []
    for name, value in variables.items():
        if "\n" in value or "\0" in value:
            raise SettingsError(f"{name} holds a line break or a NUL: {value!r}. Choose another name for the folder.")
        lines.append(f"{name}={value if _PLAIN.fullmatch(value) else shlex.quote(value)}\n")
    return "".join(lines)


def _unquoted(value: str) -> str:
    """One quoted shell word as its text; anything else as it stands: a bare value may hold a blank or a quote."""
    if not {"'", '"'} & set(value[:1] + value[-1:]):
        return value
    try:
        words = shlex.split(value)
    except ValueError:
        return value
    return words[0] if len(words) == 1 else value


def _read_profile(path: Path) -> dict[str, str]:
    if not path.exists() and not _is_named():
        return {}
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = (error.strerror if isinstance(error, OSError) else None) or str(error)
        fix = f"Correct {PROFILE_VARIABLE}, which names it." if _is_named() else "`ratchet up` writes it again."
        raise SettingsError(f"The profile {path} cannot be read: {why}. {fix}") from None
    return _moved(parse_profile(text, where=str(path)), path.parent.absolute())


def _moved(variables: dict[str, str], folder: Path) -> dict[str, str]:
    """The variables with the paths of a state folder that now is `folder`, after it or the project around it was moved.

    Told by the profile that is no longer where it says. A path outside the state folder follows when it is gone and is
    there beside the new one.
    """
    stated = Path(variables.get(STATE_DIR_VARIABLE, ""))
    if not stated.is_absolute() or stated == folder or (stated / "profile.env").exists():
        return variables
    old, new = stated, folder
    while old.name == new.name and old.name:
        old, new = old.parent, new.parent
    return {
        name: _rebased(value, stated, folder) or _rebased_if_gone(value, old, new) for name, value in variables.items()
    }


def _rebased(value: str, old: Path, new: Path) -> str:
    """Empty when it is no path in `old`."""
    path = Path(value)
    return str(new / path.relative_to(old)) if path.is_absolute() and path.is_relative_to(old) else ""


def _rebased_if_gone(value: str, old: Path, new: Path) -> str:
    rebased = _rebased(value, old, new)
    return rebased if rebased and not Path(value).exists() and Path(rebased).exists() else value


def state_dir_from_env() -> Path:
    """The state folder before there is any profile: `ratchet up` needs it to write one."""
    return Path(os.environ.get(STATE_DIR_VARIABLE, ".ratchet"))


def cache_dir_from_env() -> Path:
    """Where what can be fetched again is kept: `ratchet` in the user's cache folder (XDG base directories)."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ratchet"


def model_digest_from_env() -> str:
    """What the one who started this model server expects it to serve; "" when nobody said."""
    return os.environ.get(MODEL_DIGEST_VARIABLE, "")


def kubeconfig_from_env() -> str:
    """kubectl's own variable; "" without it."""
    return os.environ.get("KUBECONFIG", "")


def _variables_of_env() -> dict[str, str]:
    others = {PROFILE_VARIABLE, MODEL_DIGEST_VARIABLE}
    return {
        key: value
        for key, value in os.environ.items()
        if key.startswith(PREFIX) and not key.startswith(TEST_PREFIX) and key not in others
    }


def _is_named() -> bool:
    """Whether a person named the profile: one that is missing is then an error."""
    return bool(os.environ.get(PROFILE_VARIABLE))


def _profile_path() -> Path:
    return Path(os.environ.get(PROFILE_VARIABLE) or state_dir_from_env() / "profile.env")


def child_env(extra: Mapping[str, str]) -> dict[str, str]:
    """The environment of a process that we start: ours, without settings and credentials that are not its own.

    PYTHONDONTWRITEBYTECODE is dropped because imports take five times as long without `.pyc` files.
    """
    inherited = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(_NOT_INHERITED) and name != "PYTHONDONTWRITEBYTECODE"
    }
    path = os.pathsep.join(filter(None, (str(Path(sys.executable).parent), inherited.get("PATH", ""))))
    return {**inherited, "PATH": path, **extra}


def plugin_env(extra: Mapping[str, str]) -> dict[str, str]:
    """The environment of a credential plugin of the user's: the whole shell's, for it logs in with what is in there,
    without our own settings."""
    return {**{name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}, **extra}


def set_process_env(variables: Mapping[str, str]) -> None:
    """Set variables of this process, for libraries that take a limit from the environment alone (MLflow's retries)."""
    os.environ.update(variables)


_NOT_INHERITED = (PREFIX, "AWS_", "MLFLOW_", "_MLFLOW_", "KFP_", "KF_PIPELINES_")
