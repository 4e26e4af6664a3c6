"""The schema of InferenceServices, by KServe's definition (v1beta1): exact where this server honours a field."""

from embedded.control_plane.kubernetes.schema_words import (
    FOREIGN,
    LIST_TYPE,
    Schema,
    anything,
    flag,
    list_of,
    map_by,
    number,
    object_of,
    text,
    texts,
)

_ATOMIC: Schema = {LIST_TYPE: "atomic"}
_CONTAINER_OTHERS = (
    "envFrom:array imagePullPolicy:string lifecycle livenessProbe readinessProbe resizePolicy:array resources "
    "restartPolicy:string restartPolicyRules:array securityContext startupProbe stdin:boolean stdinOnce:boolean "
    "terminationMessagePath:string terminationMessagePolicy:string tty:boolean volumeDevices:array volumeMounts:array "
    "workingDir:string"
)
_POD_OTHERS = (
    "activeDeadlineSeconds:integer affinity automountServiceAccountToken:boolean dnsConfig dnsPolicy:string "
    "enableServiceLinks:boolean hostAliases:array hostIPC:boolean hostNetwork:boolean hostPID:boolean "
    "hostUsers:boolean hostname:string hostnameOverride:string imagePullSecrets:array initContainers:array "
    "nodeName:string nodeSelector os overhead preemptionPolicy:string priority:integer priorityClassName:string "
    "readinessGates:array resourceClaims:array resources restartPolicy:string runtimeClassName:string "
    "schedulerName:string schedulingGates:array securityContext serviceAccount:string serviceAccountName:string "
    "setHostnameAsFQDN:boolean shareProcessNamespace:boolean subdomain:string terminationGracePeriodSeconds:integer "
    "tolerations:array topologySpreadConstraints:array volumes:array"
)
_COMPONENT_OTHERS = (
    "annotations autoScaling batcher containerConcurrency:integer deploymentStrategy logger scaleMetric:string "
    "scaleMetricType:string scaleTarget:integer timeout:integer"
)
_FRAMEWORKS = "huggingface lightgbm onnx paddle pmml pytorch sklearn tensorflow triton xgboost"


def _key_of(what: str) -> Schema:
    return object_of(
        f"One key of a {what}.",
        required=("key",),
        name=text(f"Name of the {what}.", default=""),
        key=text("The key in it."),
        optional=flag("Leave the variable out when there is no such key."),
    )


ENV = list_of(
    "Environment variables; a later one may refer to an earlier one as $(NAME).",
    object_of(
        "One variable.",
        required=("name",),
        name=text("Its name."),
        value=text("Its value."),
        valueFrom=object_of(
            "Where the value comes from.",
            secretKeyRef=_key_of("Secret"),
            others="configMapKeyRef fieldRef fileKeyRef resourceFieldRef",
        ),
    ),
    **map_by("name"),
)
_PORTS = list_of(
    "One port; the server is told to listen on a port of this machine instead.",
    object_of(
        "A port.",
        required=("containerPort",),
        containerPort=number("Ignored here."),
        name=text("Its name."),
        protocol=text("TCP.", default="TCP"),
        hostIP=text("Ignored here."),
        hostPort=number("Ignored here."),
    ),
    **map_by("containerPort", "protocol"),
)
_WORD: Schema = {"type": "string"}
_MODEL = object_of(
    "A model served by a ServingRuntime.",
    modelFormat=object_of(
        "What the model is.", required=("name",), name=text("For example: ratchet."), version=text("Ignored here.")
    ),
    storageUri=text("s3://bucket/folder of the model; another URI makes a new revision."),
    runtime=text("Name of the ServingRuntime; without it, one that serves the format is chosen."),
    protocolVersion=text("v1 or v2; checked against the runtime."),
    name=text("Name of the container; no effect here."),
    command=list_of("Replaces the runtime's command.", _WORD, **_ATOMIC),
    args=list_of("Added to the runtime's arguments.", _WORD, **_ATOMIC),
    env=ENV,
    others=f"{_CONTAINER_OTHERS} confidential image:string ports:array runtimeVersion:string storage",
)
_CONTAINER = object_of(
    "A server of your own; runs as a process of this machine, its image is not pulled.",
    required=("name",),
    name=text("kserve-container."),
    image=text("Ignored here; needed on a cluster."),
    command=list_of("What to run.", _WORD, **_ATOMIC),
    args=list_of("Arguments of the command.", _WORD, **_ATOMIC),
    env=ENV,
    ports=_PORTS,
    others=_CONTAINER_OTHERS,
)
_PREDICTOR = object_of(
    "The server of the model. Everything but canaryTrafficPercent makes a new revision when it changes.",
    canaryTrafficPercent=number(
        "Per cent of the traffic for the latest ready revision; the rest goes to the one rolled out last. "
        "Absent or 100 rolls out; 0 keeps it dark, or takes it back.",
        format="int64",
    ),
    model=_MODEL,
    containers=list_of("Exactly one container, instead of model.", _CONTAINER),
    minReplicas=number("Processes that serve the revision, 8 at most; 0 is 1 here."),
    maxReplicas=number("No effect here: minReplicas are started."),
    labels=texts("Labels of the pods; no effect here."),
    name=text(FOREIGN, pattern="^[a-z]([-a-z0-9]*[a-z0-9])?$"),
    others=f"{_POD_OTHERS} {_COMPONENT_OTHERS} {_FRAMEWORKS} storageContainerName:string storageUris:array workerSpec",
)
SPEC = object_of(
    "What to serve.", required=("predictor",), predictor=_PREDICTOR, others="canary:array explainer transformer"
)
_TARGET = object_of(
    "One share of the traffic.",
    revisionName=text("Who gets it."),
    percent=number("How much.", format="int64"),
    latestRevision=flag("Follows the latest ready revision."),
    tag=text("prev: the revision that was rolled out last."),
)
_CONDITION = object_of(
    "One condition.",
    required=("status", "type"),
    type=text("Ready is the one that sums up the others."),
    status=text("True, False (it failed) or Unknown (on its way)."),
    reason=text("One word."),
    message=text("Why, with the end of the server's log when it failed."),
    lastTransitionTime=text("RFC 3339."),
)
_COMPONENT = object_of(
    "Revisions and traffic of the predictor.",
    latestCreatedRevision=text("Of the latest spec."),
    latestReadyRevision=text("The newest that was ever ready."),
    latestRolledoutRevision=text("The last that had all the traffic."),
    previousRolledoutRevision=text("The one before it."),
    traffic=list_of("As the gateway routes now.", _TARGET),
    url=text("Where users ask."),
)
STATUS = object_of(
    "What became of the spec.",
    observedGeneration=number("metadata.generation that this is about.", format="int64"),
    url=text("Where users ask."),
    address=object_of("The same, as Knative says it.", url=text("Where users ask.")),
    deploymentMode=text("Knative: revisions and shares of traffic."),
    conditions=list_of("Ready and its parts.", _CONDITION),
    components=object_of("By component.", predictor=_COMPONENT),
    annotations=texts("ratchet/mirror-percent: of how much the newest revision gets copies now."),
    modelStatus=anything("How the model of the latest revision is."),
)
FIELDS = {"spec": SPEC, "status": STATUS}
REQUIRED: tuple[str, ...] = ()
