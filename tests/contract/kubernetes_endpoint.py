"""The adapters' contract against an API server of your own, with the same tests as against the embedded one.

| variable | what it is |
|---|---|
| `RATCHET_TEST_KUBERNETES` | `https://host:6443`, or `kubeconfig`: then `KUBECONFIG` says the rest |
| `RATCHET_TEST_KUBERNETES_TOKEN`, `…_CA_FILE` | how to enter an endpoint |
| `RATCHET_TEST_KUBERNETES_CONTEXT` | of the kubeconfig |
| `RATCHET_TEST_KUBERNETES_NAMESPACE` | where; default: `default` |
| `RATCHET_TEST_KUBERNETES_MODELS` | `s3://bucket/folder` of models named one, two, three, same and good |

With models the cluster's own KServe, its ServingRuntime `ratchet` and its gateway serve them. Without, the tests play
the controllers of KServe and of the gateway themselves: an API server with the definitions (CRDs) of both is enough,
and an identity that may also patch the `status` of the two kinds. Objects are named `c` and eight hexadecimal digits;
only those are touched.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from ratchet.adapters.kubernetes_api import KubernetesApi
from ratchet.settings import Settings, settings_of
from tests.fakes.kserve_controller import PlayedControllers

VARIABLE = "RATCHET_TEST_KUBERNETES"
NAMES = r"c[0-9a-f]{8}(-\d{5})?"


class Endpoint(NamedTuple):
    settings: Settings
    models: str
    """Folder of real models; "" = the controllers are played."""
    played: PlayedControllers | None

    @property
    def missing(self) -> str:
        """Why what needs a server that fails or dies is skipped; "" when it can be tested."""
        return "" if self.played else "a real cluster's model servers cannot be killed or broken from here"


def is_given() -> bool:
    return bool(os.environ.get(VARIABLE))


def settings_given() -> Settings:
    told = {name.removeprefix(VARIABLE): value for name, value in os.environ.items() if name.startswith(VARIABLE)}
    names = {"RATCHET_NAMESPACE": told.get("_NAMESPACE", "default")}
    if told[""] == "kubeconfig":
        paths = os.environ.get("KUBECONFIG", "~/.kube/config")
        context = told.get("_CONTEXT", "")
        return settings_of({**names, "RATCHET_KUBECONFIG": paths, "RATCHET_KUBERNETES_CONTEXT": context})
    names["RATCHET_KUBERNETES_ENDPOINT"] = told[""]
    names["RATCHET_KUBERNETES_TOKEN"] = told.get("_TOKEN", "")
    return settings_of({**names, "RATCHET_KUBERNETES_CA_FILE": told.get("_CA_FILE", "")})


@contextmanager
def endpoint() -> Iterator[Endpoint]:
    settings, models = settings_given(), os.environ.get(f"{VARIABLE}_MODELS", "")
    if models:
        yield Endpoint(settings, models.rstrip("/"), None)
        return
    with PlayedControllers(KubernetesApi.of(settings), names=NAMES) as played:
        yield Endpoint(settings, "", played)
