"""On which nodes a task may run, where inputs of the pipeline or outputs of other tasks say it. Pure.

One machine has no nodes to choose from. What is said is read all the same: what no cluster could read fails here too,
and what says nothing gives no note.
"""

from collections.abc import Callable, Mapping
from typing import Any

from embedded.control_plane.engine.kubernetes_spec import KubernetesExecutor
from embedded.control_plane.engine.spec import ParameterSource
from embedded.control_plane.errors import DataRejected

Find = Callable[[ParameterSource], Any]
"""The value of a parameter; None where there is none, which a cluster leaves out."""


def resolve_placement(kubernetes: KubernetesExecutor, find: Find) -> dict[str, Any]:
    """`node_selector` and `tolerations` with their values in place of the parameters; each None when it is empty.

    Source: kubeflow/pipelines, backend/src/v2/driver/k8s.go, extendPodSpecPatch: labels are an object of texts, and the
    parameter of tolerations is one of them or a list. DataRejected for anything else.
    """
    tolerations = [each for given in kubernetes.tolerations or () for each in _tolerations_in(given, find)]
    return {"node_selector": _selector_in(kubernetes.node_selector, find), "tolerations": tolerations or None}


def _selector_in(given: Any, find: Find) -> Any:
    source = _source_in(given, "nodeSelectorJson")
    if source is None:
        return given
    labels = find(source)
    if labels is not None and not (isinstance(labels, Mapping) and _are_texts(labels)):
        raise DataRejected(f"the node selector is {labels!r}; expected an object of labels and their values, as text.")
    return {"labels": dict(labels)} if labels else None


def _tolerations_in(given: Any, find: Find) -> list[Any]:
    source = _source_in(given, "tolerationJson")
    if source is None:
        return [given]
    value = find(source)
    found = [value] if isinstance(value, Mapping) else [] if value is None else value
    if not isinstance(found, list) or not all(isinstance(each, Mapping) for each in found):
        raise DataRejected(f"the tolerations are {value!r}; expected an object, or a list of objects.")
    return [each for each in found if each]


def _source_in(given: Any, key: str) -> ParameterSource | None:
    source = given.get(key) if isinstance(given, Mapping) else None
    return ParameterSource.model_validate(source) if isinstance(source, Mapping) else None


def _are_texts(labels: Mapping[Any, Any]) -> bool:
    return all(isinstance(value, str) for value in labels.values())
