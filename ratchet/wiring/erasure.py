"""What erases: it reaches into labels, runs and models."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ratchet.wiring import connections, labels, models, runs, tasks

if TYPE_CHECKING:
    from ratchet.actions.labels.erasing import Holders
    from ratchet.core.ports import RunTables
    from ratchet.stores.erasures import Erasures


def erasures() -> "Erasures":
    """What was erased, and what is being erased."""
    from ratchet.stores.erasures import Erasures

    return Erasures(connections.object_store(), connections.settings().ratchet_bucket)


def erasure_holders(task: str) -> "Holders":
    """Everything that may hold an example of the task."""
    from ratchet.actions.labels.erasing import Holders
    from ratchet.actions.labels.erasing_logs import Logs
    from ratchet.actions.models.pinned_cases import forget_ids
    from ratchet.actions.models.trained import list_trained
    from ratchet.stores.request_logs import FeedbackFiles, PayloadFiles

    objects, bucket = connections.object_store(), connections.settings().ratchet_bucket

    def trained(task: str, versions: frozenset[str]) -> Sequence[str]:
        return list_trained(models.ledger(), models.registry(), task=task, versions=versions)

    def forget_cases(ids: frozenset[str]) -> Sequence[str]:
        return forget_ids(tasks.cases_path(task), ids, tasks.task_spec(task).examples)

    return Holders(
        labels=labels.label_store(),
        datasets=labels.dataset_store(),
        erasures=erasures(),
        sketches=labels.sketches(),
        findings=labels.findings(),
        signatures=labels.example_signatures(),
        journal=runs.run_journal(),
        list_trained=trained,
        schema=tasks.task_spec(task).examples,
        logs=Logs(PayloadFiles(objects, bucket), FeedbackFiles(objects, bucket), _run_tables()),
        images=labels.label_stores().images,
        forget_cases=forget_cases,
    )


def _run_tables() -> "RunTables | None":
    from ratchet.adapters.run_tables import KfpRunTables

    settings = connections.settings()
    if not settings.kfp_endpoint:
        return None
    return KfpRunTables(runs.pipelines(), connections.object_store(), state_dir=settings.state_dir)
