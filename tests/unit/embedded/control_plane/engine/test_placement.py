"""Node selectors and tolerations by parameters: read as a cluster's driver reads them, and empty ones are none."""

import pytest

from embedded.control_plane.engine.environment import notes_of
from embedded.control_plane.engine.executors import Container
from embedded.control_plane.engine.kubernetes_spec import KubernetesExecutor
from embedded.control_plane.engine.mounts import without_shared_memory
from embedded.control_plane.engine.placement import resolve_placement
from embedded.control_plane.errors import DataRejected

ASKED = KubernetesExecutor.model_validate(
    {
        "nodeSelector": {"nodeSelectorJson": {"componentInputParameter": "labels"}},
        "tolerations": [{"tolerationJson": {"componentInputParameter": "taints"}}],
    }
)
ANY = {"operator": "Exists"}


def resolved(labels: object, taints: object) -> dict[str, object]:
    given = {"labels": labels, "taints": taints}
    return resolve_placement(ASKED, lambda source: given[source.component_input_parameter or ""])


@pytest.mark.parametrize(
    ("labels", "taints", "selector", "tolerations"),
    [
        pytest.param({}, [], None, None, id="empty"),
        pytest.param(None, None, None, None, id="left-out"),
        pytest.param({"a": "b"}, [ANY, ANY], {"labels": {"a": "b"}}, [ANY, ANY], id="list"),
        pytest.param({}, ANY, None, [ANY], id="single"),
        pytest.param({}, {}, None, None, id="empty-toleration"),
    ],
)
def test_parameters_are_read_as_the_driver_reads_them(labels, taints, selector, tolerations):
    assert resolved(labels, taints) == {"node_selector": selector, "tolerations": tolerations}


@pytest.mark.parametrize(
    ("labels", "taints", "error"),
    [
        pytest.param("a=b", [], "the node selector is 'a=b'", id="text"),
        pytest.param({"a": 1}, [], "as text", id="number"),
        pytest.param({}, "all", "the tolerations are 'all'", id="tolerations-as-text"),
        pytest.param({}, ["all"], r"the tolerations are \['all'\]", id="no-object"),
    ],
)
def test_what_a_cluster_could_not_read_is_refused(labels, taints, error):
    with pytest.raises(DataRejected, match=error):
        resolved(labels, taints)


def test_only_what_is_asked_for_is_noted_as_ignored():
    container = Container.model_validate({"resources": {"resourceCpuLimit": "{{$.inputs.parameters['cpu']}}"}})
    quiet = ASKED.model_copy(update=resolved({}, []))
    assert list(notes_of(container, quiet, parameters={"cpu": "0"})) == []
    loud = list(notes_of(container, ASKED.model_copy(update=resolved({"a": "b"}, [ANY])), parameters={"cpu": "2"}))
    assert [word for note in loud for word in ("node_selector", "tolerations", "CPU limit") if word in note] == [
        "node_selector",
        "tolerations",
        "CPU limit",
    ]


def test_shared_memory_is_the_machines_own_unless_files_are_handed_on_in_it():
    shared = {"volumeName": "shm", "mountPath": "/dev/shm/", "medium": "Memory"}
    cache = {"volumeName": "cache", "mountPath": "/cache", "medium": "Memory"}
    kubernetes = KubernetesExecutor.model_validate({"emptyDirMounts": [shared, cache]})
    assert [each.volume_name for each in without_shared_memory(kubernetes).empty_dir_mounts] == ["cache"]
    init = {"name": "i", "image": "x", "volumeMounts": [{"volumeName": "shm", "mountPath": "/s"}]}
    both = KubernetesExecutor.model_validate({"emptyDirMounts": [shared, cache], "initContainers": [init]})
    assert len(without_shared_memory(both).empty_dir_mounts) == 2
