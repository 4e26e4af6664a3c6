"""Start the rollout of a model that is registered already: as a run of its own, one of its task at a time."""

from dataclasses import dataclass

from ratchet.actions.models.files import ModelFiles, trouble_of
from ratchet.actions.runs.claims import end_duplicates, follow_up, start
from ratchet.core.errors import Conflict, DataRejected, NotFound
from ratchet.core.models.ledger import ModelRef
from ratchet.core.models.registered import CHAMPION, find_model, merge_models
from ratchet.core.ports import Clock, Ledger, PipelineCatalog, Pipelines, Registry
from ratchet.core.runs import ROLLOUT, Trigger, run_key_of
from ratchet.stores.run_claims import ClaimedRun
from ratchet.stores.run_journal import RunJournal


@dataclass(frozen=True)
class ChoiceStores:
    """Where models are known and kept."""

    registry: Registry
    ledger: Ledger
    files: ModelFiles | None = None


def choose_model(stores: ChoiceStores, *, task: str, name: str) -> ModelRef:
    """The model of that version or digest, if it may be rolled out.

    NotFound: unknown, or its files are missing. DataRejected: its files were changed, or the name is of two models.
    Conflict: it is the champion, or refused. With no champion yet it may: it becomes the first one.
    """
    aliases, versions = stores.registry.fetch_aliases(task), stores.registry.list_versions(task)
    found = find_model(merge_models(stores.ledger.list_entries(task), versions, aliases), name, task=task)
    model, who = found.as_ref(), f"version {found.name} of {task}"
    if found.role == CHAMPION:
        raise Conflict(f"{who} is the champion already: `ratchet rollout status --task {task}` shows how it serves.")
    if found.is_refused:
        raise Conflict(
            f"{who} was rolled back and is refused. `ratchet models history {task}` says why; "
            f"`ratchet models allow {task}/{found.name} --reason …` takes it off the deny-list, then start it again."
        )
    trouble = trouble_of(stores.files, model)
    if trouble:
        kind = NotFound if trouble.startswith("files missing") else DataRejected
        raise kind(f"{who} cannot be served: {trouble}.")
    return model


def rollout_trigger(task: str, model: ModelRef, *, subject: str, policy_digest: str) -> Trigger:
    """subject: what makes this rollout of the model unlike every other; a run key stands for one run."""
    watermark = f"rollout of {model.digest}, {subject}"
    return Trigger(
        run_key=run_key_of(task=task, watermark=watermark, policy_digest=policy_digest, attempt=0),
        reason=f"rollout of version {model.version or model.digest[:12]}, started by hand",
        code="by_hand",
        task=task,
        watermark=watermark,
        attempt=0,
        policy_digest=policy_digest,
        num_labels=0,
        newest_shard="",
        shards_digest="",
        pipeline=ROLLOUT,
        parameters={"version": model.digest},
    )


def start_rollout(
    model: ModelRef,
    *,
    task: str,
    journal: RunJournal,
    pipelines: Pipelines,
    catalog: PipelineCatalog,
    policy_digest: str,
    clock: Clock,
) -> ClaimedRun:
    """Claim the next place of the task and submit the run; Conflict while another run of the task is in flight."""
    if not catalog.list_versions(ROLLOUT):
        raise NotFound(f"The pipeline {ROLLOUT!r} is not published. `ratchet pipelines publish` publishes it.")
    newest = follow_up(journal, pipelines, task=task, clock=clock)
    unfinished = pipelines.list_unfinished(task)
    end_duplicates(pipelines, newest, unfinished)
    busy = [run.name for run in unfinished]
    if newest is not None and newest.end is None and newest.claim.run_name not in busy:
        busy.append(newest.claim.run_name)
    if busy:
        raise Conflict(
            f"{task}: {', '.join(busy)} is in flight, 1 run of a task at a time. Follow it with `ratchet runs watch`, "
            "or end it with `ratchet runs terminate`; then start the rollout again."
        )
    seq = newest.claim.seq if newest else 0
    trigger = rollout_trigger(task, model, subject=f"after claim {seq}", policy_digest=policy_digest)
    return start(journal, pipelines, trigger, after=newest, clock=clock)
