"""What takes room in the object store, and how long it stays."""

from typing import TYPE_CHECKING

from ratchet.wiring import connections, models, rollout, tasks

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ratchet.actions.retention import RetentionPorts


def retention_ports() -> "RetentionPorts":
    """What the retention of records looks at and deletes from. The policies are read anew at each pass."""
    from ratchet.actions.retention import RetentionPorts, TaskPolicies
    from ratchet.core.retention import RetentionPolicy
    from ratchet.core.rollout.monitor import MonitorPolicy
    from ratchet.stores.places import record_folders

    def policies_of(task: str) -> TaskPolicies:
        if task not in tasks.task_names():
            return TaskPolicies(tasks.default_retention(), MonitorPolicy())
        is_own = "retention" in tasks.task_spec(task).policies
        retention = tasks.policy(task, "retention", RetentionPolicy) if is_own else tasks.default_retention()
        return TaskPolicies(retention, tasks.policy(task, "monitor", MonitorPolicy))

    return RetentionPorts(
        objects=connections.object_store(),
        ledger=models.ledger(),
        records=rollout.rollout_records(),
        folders=record_folders(connections.settings().ratchet_bucket, models=connections.settings().models_bucket),
        list_tasks=tasks.task_names,
        policies_of=policies_of,
    )


def space_kinds() -> "Mapping[str, str]":
    """What takes room in the object store, by kind, and where it is."""
    from ratchet.stores.places import kinds_of

    names = connections.settings()
    return kinds_of(
        labels=names.labels_bucket, models=names.models_bucket, datasets=names.dvc_bucket, ratchet=names.ratchet_bucket
    )
