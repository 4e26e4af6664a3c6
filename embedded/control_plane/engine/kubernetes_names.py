"""Names of Secrets, ConfigMaps and claims that come from inputs of the pipeline, or outputs of other tasks. Pure."""

from collections.abc import Callable

from embedded.control_plane.engine.kubernetes_spec import KubernetesExecutor
from embedded.control_plane.engine.records import TaskRecord
from embedded.control_plane.engine.spec import ParameterSource
from embedded.control_plane.engine.values import Values
from ratchet.core.errors import DataRejected

Sibling = Callable[[str], TaskRecord]


def resolve_names(kubernetes: KubernetesExecutor, *, group: Values, sibling: Sibling) -> KubernetesExecutor:
    """The same settings with every name a constant. DataRejected when one has no value.

    group: inputs of the DAG that the task is in. sibling: record of another task of that DAG.
    """

    def name_of(constant: str, source: ParameterSource | None) -> str:
        return constant if source is None else _value_of(source, group=group, sibling=sibling)

    return kubernetes.model_copy(
        update={
            **{
                field: tuple(
                    one.model_copy(
                        update={
                            "secret_name": name_of(one.secret_name, one.secret_name_parameter),
                            "secret_name_parameter": None,
                        }
                    )
                    for one in getattr(kubernetes, field)
                )
                for field in ("secret_as_env", "secret_as_volume")
            },
            **{
                field: tuple(
                    one.model_copy(
                        update={
                            "config_map_name": name_of(one.config_map_name, one.config_map_name_parameter),
                            "config_map_name_parameter": None,
                        }
                    )
                    for one in getattr(kubernetes, field)
                )
                for field in ("config_map_as_env", "config_map_as_volume")
            },
            "pvc_mount": tuple(
                mount.model_copy(update={"constant": name_of(mount.constant, mount.name_source)})
                for mount in kubernetes.pvc_mount
            ),
        }
    )


def _value_of(source: ParameterSource, *, group: Values, sibling: Sibling) -> str:
    if source.runtime_value is not None:
        value = source.runtime_value.constant
    elif source.task_output_parameter is not None:
        outputs = sibling(source.task_output_parameter.producer_task).outputs.parameters
        value = outputs.get(source.task_output_parameter.output_parameter_key)
    else:
        value = group.parameters.get(source.component_input_parameter or "")
    if not isinstance(value, str) or not value:
        raise DataRejected(
            f"the name of a Secret, ConfigMap or claim has no value: {source.model_dump(exclude_none=True)}"
        )
    return value
