"""What `kfp.kubernetes` and the pipeline's configuration say of a cluster (platform_spec), as typed, frozen values.

Field by field what kfp's `kubernetes_executor_config.proto` says; a field that is not here is refused by its name.
"""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from embedded.control_plane.engine.definitions import SpecModel
from embedded.control_plane.engine.executors import EnvVar
from embedded.control_plane.engine.spec import ParameterSource, PipelineSpec, TaskOutputParameter
from embedded.control_plane.errors import DataRejected

_DEADLINE_S_MAX = 2**31 - 1
"""As Kubernetes has it for activeDeadlineSeconds."""


class SecretKey(SpecModel):
    secret_key: str
    env_var: str


class SecretEnv(SpecModel):
    secret_name: str = ""
    secret_name_parameter: ParameterSource | None = None
    key_to_env: tuple[SecretKey, ...] = ()
    optional: bool = False


class ConfigMapKey(SpecModel):
    config_map_key: str
    env_var: str


class ConfigMapEnv(SpecModel):
    config_map_name: str = ""
    config_map_name_parameter: ParameterSource | None = None
    key_to_env: tuple[ConfigMapKey, ...] = ()
    optional: bool = False


class SecretVolume(SpecModel):
    secret_name: str = ""
    secret_name_parameter: ParameterSource | None = None
    mount_path: str
    optional: bool = False


class ConfigMapVolume(SpecModel):
    config_map_name: str = ""
    config_map_name_parameter: ParameterSource | None = None
    mount_path: str
    optional: bool = False


class PvcMount(SpecModel):
    """The claim's name is given twice: the three older fields are what backends before 2.4 read."""

    constant: str = ""
    component_input_parameter: str | None = None
    task_output_parameter: TaskOutputParameter | None = None
    pvc_name_parameter: ParameterSource | None = None
    mount_path: str
    sub_path: str = ""

    @property
    def name_source(self) -> ParameterSource | None:
        """None when the name is `constant`."""
        if self.pvc_name_parameter or self.constant:
            return self.pvc_name_parameter
        return ParameterSource(
            component_input_parameter=self.component_input_parameter,
            task_output_parameter=self.task_output_parameter,
        )


class EmptyDirMount(SpecModel):
    volume_name: str = ""
    mount_path: str
    medium: str = ""
    size_limit: str = ""


class EphemeralVolume(SpecModel):
    """A claim that lives as long as the pod. Only name and mount path have a meaning here."""

    volume_name: str = ""
    mount_path: str
    access_modes: tuple[str, ...] = ()
    size: str = ""
    default_storage_class: bool = False
    storage_class_name: str = ""
    metadata: Any = None


class FieldPathEnv(SpecModel):
    """A variable whose value is a field of the pod."""

    name: str
    field_path: str


class InitVolumeMount(SpecModel):
    volume_name: str
    mount_path: str


class InitContainer(SpecModel):
    """A command that ends before the task's own begins. A restart policy would make it a sidecar."""

    name: str
    image: str
    command: tuple[str, ...] = ()
    args: tuple[str, ...] = ()
    env: tuple[EnvVar, ...] = ()
    volume_mounts: tuple[InitVolumeMount, ...] = ()
    restart_policy: str = ""
    resources: Any = None


PRIORITY = "ratchet/priority"
FINAL_EXIT_CODES = "ratchet/final-exit-codes"
_OURS = frozenset({PRIORITY, FINAL_EXIT_CODES})


class PodMetadata(SpecModel):
    """Of the pod. Two annotations have a meaning here, all else has none."""

    labels: dict[str, str] = Field(default_factory=dict)
    annotations: dict[str, str] = Field(default_factory=dict)

    @property
    def has_more_than_ours(self) -> bool:
        return bool(self.labels) or bool(self.annotations.keys() - _OURS)


class KubernetesExecutor(SpecModel):
    """What `kfp.kubernetes` says of a task. The last ones have no meaning here; the task's log says so."""

    secret_as_env: tuple[SecretEnv, ...] = ()
    config_map_as_env: tuple[ConfigMapEnv, ...] = ()
    secret_as_volume: tuple[SecretVolume, ...] = ()
    config_map_as_volume: tuple[ConfigMapVolume, ...] = ()
    pvc_mount: tuple[PvcMount, ...] = ()
    empty_dir_mounts: tuple[EmptyDirMount, ...] = ()
    generic_ephemeral_volume: tuple[EphemeralVolume, ...] = ()
    field_path_as_env: tuple[FieldPathEnv, ...] = ()
    init_containers: tuple[InitContainer, ...] = ()
    active_deadline_seconds: int = Field(0, ge=0, le=_DEADLINE_S_MAX)
    pod_metadata: PodMetadata | None = None
    node_selector: Any = None
    tolerations: Any = None
    node_affinity: Any = None
    pod_affinity: Any = None
    image_pull_secret: Any = None
    image_pull_policy: Any = None
    security_context: Any = None
    enabled_shared_memory: Any = None

    @property
    def priority(self) -> int:
        """Of a waiting task, by the annotation `ratchet/priority`; higher goes first, 0 when nothing is said.

        A whole number of whatever sign; DataRejected for anything else.
        """
        text = self.pod_metadata.annotations.get(PRIORITY, "0") if self.pod_metadata else "0"
        try:
            return int(text)
        except ValueError:
            raise DataRejected(f"the annotation {PRIORITY} is {text!r}, not a whole number such as 10.") from None

    @property
    def final_exit_codes(self) -> frozenset[int]:
        """By the annotation `ratchet/final-exit-codes`, "3,4": a task that ends with one of them is not retried.

        DataRejected for anything but whole numbers and commas.
        """
        text = self.pod_metadata.annotations.get(FINAL_EXIT_CODES, "") if self.pod_metadata else ""
        try:
            return frozenset(int(code) for code in text.split(",") if code.strip())
        except ValueError:
            raise DataRejected(
                f"the annotation {FINAL_EXIT_CODES} is {text!r}; expected exit codes such as 3,4."
            ) from None


class KubernetesDeployment(SpecModel):
    executors: dict[str, KubernetesExecutor] = Field(default_factory=dict)


class PipelineConfig(SpecModel):
    """Of the whole run. How long a finished workflow is kept concerns the cluster's own objects alone."""

    active_deadline_seconds: int = Field(0, ge=0, le=_DEADLINE_S_MAX)
    """0 = none. When it has passed, the run is terminated; exit tasks still run."""
    resource_ttl_on_completion: int = 0
    resource_ttl_on_success: int = 0
    resource_ttl_on_failure: int = 0
    workspace: dict[str, Any] | None = None
    """Size and class of the run's workspace: without a meaning here, but that there is one."""


class KubernetesPlatform(SpecModel):
    deployment_spec: KubernetesDeployment = KubernetesDeployment()
    pipeline_config: PipelineConfig = PipelineConfig()


class Platforms(SpecModel):
    kubernetes: KubernetesPlatform = KubernetesPlatform()


class PlatformSpec(SpecModel):
    platforms: Platforms = Platforms()


class Pipeline(BaseModel):
    """Everything that was uploaded: the pipeline, and what it says of Kubernetes."""

    model_config = ConfigDict(frozen=True)

    spec: PipelineSpec
    platform: PlatformSpec = PlatformSpec()

    @property
    def name(self) -> str:
        return self.spec.pipeline_info.name

    @property
    def has_workspace(self) -> bool:
        return self.platform.platforms.kubernetes.pipeline_config.workspace is not None

    @property
    def deadline_s(self) -> float:
        """Longest time of a run; 0 = any."""
        return self.platform.platforms.kubernetes.pipeline_config.active_deadline_seconds

    def kubernetes_of(self, executor_label: str) -> KubernetesExecutor:
        executors = self.platform.platforms.kubernetes.deployment_spec.executors
        return executors.get(executor_label, KubernetesExecutor())
