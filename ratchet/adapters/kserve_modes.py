"""KServe's deployment modes, of each version that is supported: how one asks for a mode, and how KServe tells it.

The annotation `serving.kserve.io/deploymentMode` has no value that all versions understand (read in KServe's source):

| KServe | `Serverless` | `Knative` | `status.deploymentMode` |
|---|---|---|---|
| 0.15.0 | understood | its default mode instead | none |
| 0.15.1, 0.15.2 | understood | its default mode; every later update is refused | `Serverless` |
| 0.16.0 | understood, but every later update is refused | understood | `Knative` |
| 0.17 to 0.20 | understood | understood | `Knative` |

(`RawDeployment` and `Standard` likewise.) The refusal is a webhook's, which compares annotation and status as text. So
the version is found out first, by a rehearsed creation with a field that came with 0.16.
"""

from collections.abc import Mapping
from typing import Any

from ratchet.adapters.kserve_objects import GROUP_VERSION, PLURAL, mapping_at
from ratchet.adapters.kubernetes_api import KubernetesApi
from ratchet.adapters.kubernetes_errors import UnknownField
from ratchet.core.errors import Conflict, DataRejected

MODE = "serving.kserve.io/deploymentMode"
KNATIVE = {"Knative", "Serverless"}
STANDARD = {"Standard", "RawDeployment"}
_NEW_FIELD, _NO_FIELD = "storageUris", "ratchetProbe"
"""What KServe 0.16 brought, and what no version has: only a definition with a schema refuses that one."""


def knows_new_modes(api: KubernetesApi, service: Mapping[str, Any]) -> bool:
    """Whether this is KServe 0.16 or newer, which calls its modes Knative and Standard. Nothing is created.

    `service`: an InferenceService that could be. KServe's full definitions refuse unknown fields; with the minimal ones
    (helm chart kserve-crd-minimal) only a webhook of 0.16 or newer refuses a model with two kinds of URIs.
    """
    uri = mapping_at(service, "spec.predictor.model").get("storageUri")
    fields = {_NEW_FIELD: [{"uri": uri, "mountPath": "/mnt/models"}], _NO_FIELD: True}
    spec = {**mapping_at(service, "spec"), "predictor": {**mapping_at(service, "spec.predictor"), **fields}}
    try:
        api.request("POST", api.collection(GROUP_VERSION, PLURAL), body={**service, "spec": spec}, is_rehearsal=True)
    except UnknownField as error:
        return not any(_NEW_FIELD in field for field in error.fields)
    except (DataRejected, Conflict):
        return True
    return False


def mode_of(service: Mapping[str, Any]) -> str:
    """As KServe tells it; "" while it has not, and always below 0.15.1."""
    return str(mapping_at(service, "status").get("deploymentMode") or "")


def mode_problem_of(service: Mapping[str, Any], *, wanted: set[str], setting: str) -> str:
    """Why a service cannot be used in a mode, as a sentence; "" when KServe says that it has it, or nothing yet."""
    mode = mode_of(service)
    if not mode or mode in wanted:
        return ""
    name = mapping_at(service, "metadata").get("name")
    return (
        f"InferenceService {name}: KServe serves it in mode {mode}, but RATCHET_SERVING_MODE is {setting}. Change the "
        "setting, or delete the InferenceService and deploy again"
    )
