"""When and how often work starts, and what came of it."""

from functools import lru_cache
from typing import TYPE_CHECKING

from ratchet.config_files import load_model
from ratchet.core import ports
from ratchet.wiring import connections, labels, tasks

if TYPE_CHECKING:
    from contextlib import AbstractContextManager
    from pathlib import Path

    from ratchet.actions.runs.retraining import RetrainPorts
    from ratchet.adapters.sensor_service import SensorService
    from ratchet.core.runs.schedules import WantedSchedule
    from ratchet.stores.finished import FinishedSteps, FinishedWork
    from ratchet.stores.run_journal import RunJournal
    from ratchet.stores.run_outcomes import RunOutcomes, StepNotes
    from ratchet.stores.run_progress import RunProgress
    from ratchet.stores.ticks import TickArchive


@lru_cache
def pipelines() -> ports.Pipelines:
    from ratchet.adapters.kfp import KfpPipelines

    return KfpPipelines.of(connections.settings())


@lru_cache
def pipeline_catalog() -> ports.PipelineCatalog:
    from ratchet.adapters.kfp_catalog import KfpPipelineCatalog

    return KfpPipelineCatalog.of(connections.settings())


def schedules_path() -> "Path":
    return connections.settings().configs_dir / "schedules.yaml"


def wanted_schedules() -> "tuple[WantedSchedule, ...] | None":
    """What configs/schedules.yaml asks for, read anew at each call; None when there is no such file.

    PolicyError names what is wrong in it, a task that there is not, too. A task whose own file is wrong keeps its
    schedules, and those of the others follow the file.
    """
    from ratchet.core.runs.schedules import ScheduleFile

    if not schedules_path().is_file():
        return None
    wanted = load_model(schedules_path(), ScheduleFile).schedules
    for schedule in wanted:
        tasks.check_task(schedule.task)
    return wanted


@lru_cache
def run_journal() -> "RunJournal":
    from ratchet.stores.run_journal import RunJournal

    return RunJournal(connections.object_store(), connections.settings().ratchet_bucket)


def run_outcomes() -> "RunOutcomes":
    from ratchet.stores.run_outcomes import RunOutcomes

    return RunOutcomes(connections.object_store(), connections.settings().ratchet_bucket)


def finished_work() -> "FinishedWork":
    from ratchet.stores.finished import FinishedWork

    return FinishedWork(connections.object_store(), connections.settings().ratchet_bucket)


def finished_steps(task: str, run_id: str) -> "FinishedSteps":
    """What an earlier attempt, or an earlier run, has finished of a training."""
    return finished_work().of_run(task, run_id)


def run_progress(run_id: str) -> "RunProgress":
    """How far the training of a run is."""
    from ratchet.stores.run_progress import RunProgress

    return RunProgress(connections.object_store(), connections.settings().ratchet_bucket, run_id)


def step_of_run(
    step: str, *, task: str, run_id: str, is_run_recorded: bool = True
) -> "AbstractContextManager[StepNotes]":
    """Around the work of a pipeline step: its failure is kept with the run, and its verdict where it has one.

    is_run_recorded: False for a step that is part of a pipeline without `notify`.
    """
    return run_outcomes().step(
        step, run_id=run_id, code_digest=lambda: tasks.code_digest(task), is_run_recorded=is_run_recorded
    )


@lru_cache
def retrain_ports() -> "RetrainPorts":
    from ratchet.actions.runs.retraining import RetrainPorts

    return RetrainPorts(
        stores=labels.label_stores(),
        signals=labels.signals(),
        pipelines=pipelines(),
        journal=run_journal(),
        clock=connections.clock(),
    )


def tick_archive() -> "TickArchive":
    from ratchet.stores.ticks import TickArchive

    return TickArchive(connections.object_store(), connections.settings().ratchet_bucket)


@lru_cache
def sensor_service() -> "SensorService":
    from ratchet.adapters.sensor_service import SensorService

    return SensorService.of(connections.settings())
