"""The kinds of objects that the Kubernetes API here knows: their names, their columns, the fields one may select by."""

from collections.abc import Callable, Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict

from embedded.control_plane.kubernetes.errors import GROUP, KIND, PLURAL, VERSION


class Column(BaseModel):
    """One column of `kubectl get`. `of` gives the cell; a `date` is shown as the age."""

    model_config = ConfigDict(frozen=True)

    name: str
    type: str
    of: Callable[[Mapping[str, Any]], Any]
    priority: int = 0
    """1 = only with `-o wide`."""
    format: str = ""


class ObjectKind(BaseModel):
    model_config = ConfigDict(frozen=True)

    group: str
    version: str
    kind: str
    plural: str
    is_namespaced: bool
    verbs: tuple[str, ...]
    columns: tuple[Column, ...]
    short_names: tuple[str, ...] = ()
    fields: tuple[str, ...] = ("metadata.name", "metadata.namespace")
    """What a fieldSelector may name."""

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def root(self) -> str:
        return f"/apis/{self.api_version}" if self.group else f"/api/{self.version}"

    @property
    def qualified(self) -> str:
        """As error messages name it: `inferenceservices.serving.kserve.io`."""
        return f"{self.plural}.{self.group}" if self.group else self.plural


def field_of(found: Mapping[str, Any], path: str) -> Any:
    """`status.url` of an object; None when there is no such field."""
    value: Any = found
    for name in path.split("."):
        value = value.get(name) if isinstance(value, Mapping) else None
    return value


def _field(path: str) -> Callable[[Mapping[str, Any]], Any]:
    return lambda found: field_of(found, path)


def _of_condition(kind: str) -> Callable[[Mapping[str, Any]], Any]:
    def status(found: Mapping[str, Any]) -> Any:
        conditions = field_of(found, "status.conditions") or ()
        return next((each["status"] for each in conditions if each["type"] == kind), None)

    return status


def _of_target(field: str, **wanted: Any) -> Callable[[Mapping[str, Any]], Any]:
    """A field of the first traffic target that has these values, as the CRD's JSONPath filters say."""

    def value(found: Mapping[str, Any]) -> Any:
        targets = field_of(found, "status.components.predictor.traffic") or ()
        chosen = (each for each in targets if all(each.get(key) == want for key, want in wanted.items()))
        return next((each.get(field) for each in chosen), None)

    return value


def _of_container(pod: Mapping[str, Any], field: str) -> Any:
    """Of its only container; None before it has started."""
    return next((each.get(field) for each in field_of(pod, "status.containerStatuses") or ()), None)


_NAME = Column(name="Name", type="string", format="name", of=_field("metadata.name"))
_AGE = Column(name="Age", type="date", of=_field("metadata.creationTimestamp"))

INFERENCE_SERVICES = ObjectKind(
    group=GROUP,
    version=VERSION,
    kind=KIND,
    plural=PLURAL,
    is_namespaced=True,
    verbs=("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"),
    short_names=("isvc",),
    columns=(  # `additionalPrinterColumns` of KServe's CustomResourceDefinition
        _NAME,
        Column(name="URL", type="string", of=_field("status.url")),
        Column(name="Ready", type="string", of=_of_condition("Ready")),
        Column(name="Prev", type="integer", of=_of_target("percent", tag="prev")),
        Column(name="Latest", type="integer", of=_of_target("percent", latestRevision=True)),
        Column(name="PrevRolledoutRevision", type="string", of=_of_target("revisionName", tag="prev")),
        Column(name="LatestReadyRevision", type="string", of=_of_target("revisionName", latestRevision=True)),
        _AGE,
    ),
)
NAMESPACES = ObjectKind(
    group="",
    version="v1",
    kind="Namespace",
    plural="namespaces",
    is_namespaced=False,
    verbs=("create", "get", "list", "watch"),
    short_names=("ns",),
    fields=("metadata.name", "status.phase"),
    columns=(_NAME, Column(name="Status", type="string", of=_field("status.phase")), _AGE),
)
EVENTS = ObjectKind(
    group="",
    version="v1",
    kind="Event",
    plural="events",
    is_namespaced=True,
    verbs=("get", "list", "watch"),
    short_names=("ev",),
    fields=(
        *("metadata.name", "metadata.namespace", "reason", "type", "source", "reportingComponent"),
        *(f"involvedObject.{name}" for name in ("apiVersion", "kind", "name", "namespace", "uid", "resourceVersion")),
        "involvedObject.fieldPath",
    ),
    columns=(
        Column(name="Last Seen", type="date", of=_field("lastTimestamp")),
        Column(name="Type", type="string", of=_field("type")),
        Column(name="Reason", type="string", of=_field("reason")),
        Column(
            name="Object",
            type="string",
            of=lambda found: f"{found['involvedObject']['kind'].lower()}/{found['involvedObject']['name']}",
        ),
        Column(name="Message", type="string", of=_field("message")),
        Column(name="Name", type="string", format="name", priority=1, of=_field("metadata.name")),
    ),
)
HTTP_ROUTES = ObjectKind(
    group="gateway.networking.k8s.io",
    version="v1",
    kind="HTTPRoute",
    plural="httproutes",
    is_namespaced=True,
    verbs=("create", "delete", "get", "list", "patch", "update", "watch"),
    columns=(  # `additionalPrinterColumns` of the Gateway API's CustomResourceDefinition
        _NAME,
        Column(name="Hostnames", type="string", of=_field("spec.hostnames")),
        _AGE,
    ),
)
SERVICES = ObjectKind(  # `kubectl cluster-info` lists them
    group="",
    version="v1",
    kind="Service",
    plural="services",
    is_namespaced=True,
    verbs=("get", "list", "watch"),
    short_names=("svc",),
    columns=(_NAME, _AGE),
)
_ALL_VERBS = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")
_TRAINER_GROUP, _TRAINER_VERSION = "trainer.kubeflow.org", "v1alpha1"
TRAIN_JOBS = ObjectKind(
    group=_TRAINER_GROUP,
    version=_TRAINER_VERSION,
    kind="TrainJob",
    plural="trainjobs",
    is_namespaced=True,
    verbs=_ALL_VERBS,
    columns=(  # `additionalPrinterColumns` of Kubeflow Trainer's CustomResourceDefinition
        _NAME,
        Column(
            name="State",
            type="string",
            of=lambda found: ((field_of(found, "status.conditions") or [{}])[-1]).get("type"),
        ),
        _AGE,
    ),
)
CLUSTER_TRAINING_RUNTIMES = ObjectKind(
    group=_TRAINER_GROUP,
    version=_TRAINER_VERSION,
    kind="ClusterTrainingRuntime",
    plural="clustertrainingruntimes",
    is_namespaced=False,
    verbs=_ALL_VERBS,
    columns=(_NAME, _AGE),
)
TRAINING_RUNTIMES = ObjectKind(
    group=_TRAINER_GROUP,
    version=_TRAINER_VERSION,
    kind="TrainingRuntime",
    plural="trainingruntimes",
    is_namespaced=True,
    verbs=_ALL_VERBS,
    columns=(_NAME, _AGE),
)
PODS = ObjectKind(
    group="",
    version="v1",
    kind="Pod",
    plural="pods",
    is_namespaced=True,
    verbs=("get", "list", "watch"),
    short_names=("po",),
    fields=("metadata.name", "metadata.namespace", "status.phase"),
    columns=(
        _NAME,
        Column(name="Ready", type="string", of=lambda found: "1/1" if _of_container(found, "ready") else "0/1"),
        Column(name="Status", type="string", of=_field("status.phase")),
        Column(name="Restarts", type="string", of=lambda found: str(_of_container(found, "restartCount") or 0)),
        _AGE,
    ),
)
KINDS = (
    *(INFERENCE_SERVICES, HTTP_ROUTES, NAMESPACES, EVENTS, SERVICES),
    *(TRAIN_JOBS, CLUSTER_TRAINING_RUNTIMES, TRAINING_RUNTIMES, PODS),
)
