"""Which adapter stands behind which port, given the settings. Imported by components, sensors and the command line.

Adapters are imported where they are built: a step pays for its own technology only.

One module, over 300 lines: a flat table of one function a port, and what builds on a port asks for it by its name here,
so that a replaced function is replaced for all.
"""

from functools import lru_cache
from typing import TYPE_CHECKING, TypeVar

from pydantic import BaseModel

from ratchet.config_files import load_model, load_yaml
from ratchet.core import ports
from ratchet.core.digest import digest_of
from ratchet.core.errors import PolicyError
from ratchet.packaged import packaged_configs
from ratchet.settings import Settings, load_settings
from ratchet.tasks.spec import TaskSpec

if TYPE_CHECKING:
    from collections.abc import Mapping
    from contextlib import AbstractContextManager
    from pathlib import Path

    from ratchet.actions.labels.stores import LabelStores
    from ratchet.actions.models.classes import ClassesInUse
    from ratchet.actions.models.fallback import LoadProof
    from ratchet.actions.models.files import ModelFiles
    from ratchet.actions.retention import RetentionPorts
    from ratchet.actions.rollout.guarding import GuardPorts
    from ratchet.actions.rollout.ports import RolloutPorts, ServingPorts
    from ratchet.actions.rollout.start import ChoiceStores
    from ratchet.actions.runs.retraining import RetrainPorts
    from ratchet.adapters.cluster_check import Examined
    from ratchet.adapters.guard_service import GuardService
    from ratchet.adapters.sensor_service import SensorService
    from ratchet.adapters.task_checks import ProcessTaskChecks
    from ratchet.core.retention import RetentionPolicy
    from ratchet.core.runs.schedules import WantedSchedule
    from ratchet.stores.contents import Contents
    from ratchet.stores.finished import FinishedSteps, FinishedWork
    from ratchet.stores.models import ModelFolders
    from ratchet.stores.page_libraries import PageLibraries
    from ratchet.stores.rollout_orders import RolloutOrders
    from ratchet.stores.rollout_record import RolloutRecords
    from ratchet.stores.run_journal import RunJournal
    from ratchet.stores.run_outcomes import RunOutcomes, StepNotes
    from ratchet.stores.signals import Signals
    from ratchet.stores.ticks import TickArchive
    from ratchet.stores.verdicts import Verdicts

Model = TypeVar("Model", bound=BaseModel)
POLICY_NAMES = ("trigger", "quality", "drift", "evaluation", "rollout")


def settings() -> Settings:
    return load_settings()


def task_names() -> tuple[str, ...]:
    return tuple(sorted(path.stem for path in (settings().configs_dir / "tasks").glob("*.yaml")))


def check_task(task: str) -> None:
    """PolicyError, with the tasks that there are, when none has that name."""
    if task not in task_names():
        folder, known = settings().configs_dir / "tasks", ", ".join(task_names()) or "none"
        raise PolicyError(f"There is no task {task!r} in {folder}; known: {known}.")


@lru_cache
def task_spec(task: str) -> TaskSpec:
    """The task of that name; PolicyError when there is none, or its file is wrong."""
    check_task(task)
    path = settings().configs_dir / "tasks" / f"{task}.yaml"
    spec = load_model(path, TaskSpec)
    if spec.name != task:
        raise PolicyError(f"{path}: name is {spec.name!r}; it must be the file's name, {task!r}.")
    return spec


def policy(task: str, name: str, kind: type[Model]) -> Model:
    """A task's policy, for example `policy("digits", "rollout", RolloutPolicy)`."""
    return load_model(_policy_path(task_spec(task), name), kind)


def policy_digest(task: str) -> str:
    """The digest of the task and of all its policies: part of every run key."""
    spec = task_spec(task)
    policies = {name: load_yaml(_policy_path(spec, name)) for name in POLICY_NAMES}
    return digest_of({"task": spec.model_dump(mode="json"), "policies": policies})


def code_digest(task: str) -> str:
    """The digest of the code that implements a task; "" where it is not installed. Nothing of it runs."""
    from ratchet.tasks.code_collect import collect_code

    try:
        return collect_code(task_spec(task).implementation).digest
    except PolicyError:
        return ""


def task_checks() -> "ProcessTaskChecks":
    from ratchet.adapters.task_checks import ProcessTaskChecks

    return ProcessTaskChecks()


def schedules_path() -> "Path":
    return settings().configs_dir / "schedules.yaml"


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
        check_task(schedule.task)
    return wanted


def clock() -> ports.Clock:
    from ratchet.adapters.clock import SystemClock

    return SystemClock()


@lru_cache
def object_store() -> ports.ObjectStore:
    from ratchet.adapters.s3 import S3ObjectStore

    return S3ObjectStore.of(settings())


@lru_cache
def label_store() -> ports.LabelStore:
    from ratchet.adapters.s3_labels import S3LabelStore

    return S3LabelStore(object_store(), bucket=settings().labels_bucket)


@lru_cache
def dataset_store() -> ports.DatasetStore:
    from ratchet.adapters.dvc import DvcDatasetStore

    return DvcDatasetStore.of(settings(), object_store())


def verdicts() -> "Verdicts":
    from ratchet.stores.verdicts import Verdicts

    return Verdicts(object_store(), settings().ratchet_bucket)


def contents() -> "Contents":
    from ratchet.stores.contents import Contents

    return Contents(object_store(), settings().ratchet_bucket)


def label_stores() -> "LabelStores":
    """Where labels lie, and what is known of them: for the sensor, ingest and the command line."""
    from ratchet.actions.labels.stores import LabelStores
    from ratchet.stores.quarantine_orders import QuarantineOrders

    orders = QuarantineOrders(object_store(), settings().ratchet_bucket)
    return LabelStores(label_store(), dataset_store(), verdicts(), contents(), orders)


def signals() -> "Signals":
    from ratchet.stores.signals import Signals

    return Signals(object_store(), settings().ratchet_bucket)


def page_libraries() -> "PageLibraries":
    from ratchet.stores.page_libraries import PageLibraries

    return PageLibraries(object_store(), settings().ratchet_bucket)


def tick_archive() -> "TickArchive":
    from ratchet.stores.ticks import TickArchive

    return TickArchive(object_store(), settings().ratchet_bucket)


def model_folders() -> "ModelFolders":
    from ratchet.stores.models import ModelFolders

    return ModelFolders(object_store(), settings().models_bucket)


@lru_cache
def ledger() -> ports.Ledger:
    from ratchet.stores.ledger import S3Ledger

    return S3Ledger(object_store(), settings().ratchet_bucket)


@lru_cache
def registry() -> ports.Registry:
    from ratchet.adapters.mlflow import MlflowRegistry

    return MlflowRegistry.of(settings())


@lru_cache
def pipelines() -> ports.Pipelines:
    from ratchet.adapters.kfp import KfpPipelines

    return KfpPipelines.of(settings())


@lru_cache
def pipeline_catalog() -> ports.PipelineCatalog:
    from ratchet.adapters.kfp_catalog import KfpPipelineCatalog

    return KfpPipelineCatalog.of(settings())


@lru_cache
def run_journal() -> "RunJournal":
    from ratchet.stores.run_journal import RunJournal

    return RunJournal(object_store(), settings().ratchet_bucket)


def run_outcomes() -> "RunOutcomes":
    from ratchet.stores.run_outcomes import RunOutcomes

    return RunOutcomes(object_store(), settings().ratchet_bucket)


def finished_work() -> "FinishedWork":
    from ratchet.stores.finished import FinishedWork

    return FinishedWork(object_store(), settings().ratchet_bucket)


def finished_steps(task: str, run_id: str) -> "FinishedSteps":
    """What an earlier attempt, or an earlier run, has finished of a training."""
    return finished_work().of_run(task, run_id)


def step_of_run(
    step: str, *, task: str, run_id: str, is_run_recorded: bool = True
) -> "AbstractContextManager[StepNotes]":
    """Around the work of a pipeline step: its failure is kept with the run, and its verdict where it has one.

    is_run_recorded: False for a step that is part of a pipeline without `notify`.
    """
    return run_outcomes().step(
        step, run_id=run_id, code_digest=lambda: code_digest(task), is_run_recorded=is_run_recorded
    )


@lru_cache
def retrain_ports() -> "RetrainPorts":
    from ratchet.actions.runs.retraining import RetrainPorts

    return RetrainPorts(
        stores=label_stores(),
        signals=signals(),
        pipelines=pipelines(),
        journal=run_journal(),
        clock=clock(),
    )


@lru_cache
def sensor_service() -> "SensorService":
    from ratchet.adapters.sensor_service import SensorService

    return SensorService.of(settings())


@lru_cache
def guard_service() -> "GuardService":
    from ratchet.adapters.guard_service import GuardService

    return GuardService.of(settings())


def examine_cluster() -> "list[Examined]":
    """What the cluster lacks for serving."""
    from ratchet.adapters.cluster_check import examine_cluster as examine

    return examine(settings())


@lru_cache
def inference_services() -> ports.InferenceServices:
    if settings().serving_mode == "standard":
        from ratchet.adapters.kserve_standard import KServeStandardServices

        return KServeStandardServices.of(settings())
    from ratchet.adapters.kserve import KServeInferenceServices

    return KServeInferenceServices.of(settings())


@lru_cache
def traffic_stats() -> ports.TrafficStats:
    if settings().traffic_stats == "prometheus":
        from ratchet.adapters.prometheus import PrometheusTrafficStats

        return PrometheusTrafficStats.of(settings())
    from ratchet.adapters.envoy import EnvoyTrafficStats

    return EnvoyTrafficStats.of(settings())


@lru_cache
def payload_log() -> ports.PayloadLog:
    from ratchet.adapters.s3_payloads import S3PayloadLog

    return S3PayloadLog(object_store(), bucket=settings().ratchet_bucket)


@lru_cache
def feedback_store() -> ports.FeedbackStore:
    from ratchet.adapters.s3_payloads import S3FeedbackStore

    return S3FeedbackStore(object_store(), bucket=settings().ratchet_bucket)


@lru_cache
def classes_in_use() -> "ClassesInUse":
    from ratchet.actions.models.classes import ClassesInUse

    return ClassesInUse(ledger(), object_store(), classes_of=lambda task: task_spec(task).classes)


@lru_cache
def gateway() -> ports.Gateway | None:
    """None where nobody says at which address users' requests enter."""
    from ratchet.adapters.gateway import HttpGateway

    return HttpGateway(settings().gateway_endpoint) if settings().gateway_endpoint else None


@lru_cache
def trainer() -> ports.Trainer:
    from ratchet.adapters.torchrun import TorchrunTrainer

    return TorchrunTrainer()


@lru_cache
def model_probe() -> ports.ModelProbe:
    from ratchet.adapters.model_server import LocalModelServer

    return LocalModelServer()


def rollout_choice() -> "ChoiceStores":
    from ratchet.actions.rollout.start import ChoiceStores

    return ChoiceStores(registry(), ledger(), model_files())


@lru_cache
def model_files() -> "ModelFiles":
    from ratchet.actions.models.files import StoredModelFiles

    return StoredModelFiles(object_store())


def rollout_records() -> "RolloutRecords":
    from ratchet.stores.rollout_record import RolloutRecords

    return RolloutRecords(object_store(), settings().ratchet_bucket)


def rollout_orders() -> "RolloutOrders":
    from ratchet.stores.rollout_orders import RolloutOrders

    return RolloutOrders(object_store(), settings().ratchet_bucket)


def load_proof() -> "LoadProof":
    from ratchet.actions.models.fallback import LoadProof
    from ratchet.stores.load_proofs import LoadProofs

    return LoadProof(object_store(), model_probe(), LoadProofs(object_store(), settings().ratchet_bucket))


def serving_ports() -> "ServingPorts":
    """What giving the traffic back to a champion takes: for notify."""
    from ratchet.actions.rollout.ports import ServingPorts

    return ServingPorts(services=inference_services(), ledger=ledger(), clock=clock(), files=model_files())


def rollout_ports() -> "RolloutPorts":
    """What a rollout acts on: for canary_deploy, rollback and the command line."""
    from ratchet.actions.rollout.ports import RolloutPorts

    return RolloutPorts(
        services=inference_services(),
        stats=traffic_stats(),
        ledger=ledger(),
        registry=registry(),
        clock=clock(),
        objects=object_store(),
        records=rollout_records(),
        orders=rollout_orders(),
        gateway=gateway(),
        payloads=payload_log(),
        feedback=feedback_store(),
        proof=load_proof(),
        files=model_files(),
    )


@lru_cache
def guard_ports() -> "GuardPorts":
    """What the guard looks at and acts on. KFP is asked only while a rollout is open: champions are guarded without."""
    from ratchet.actions.rollout.guarding import GuardPorts
    from ratchet.stores.guard_memory import GuardMemory

    memory = GuardMemory(object_store(), settings().ratchet_bucket)
    return GuardPorts(rollout=rollout_ports(), pipelines=pipelines, memory=memory)


def default_retention() -> "RetentionPolicy":
    """The policy of tasks that name none."""
    from ratchet.core.retention import RetentionPolicy

    return load_model(_usual_policy_path("retention"), RetentionPolicy)


def retention_ports() -> "RetentionPorts":
    """What the retention of records looks at and deletes from. The policies are read anew at each pass."""
    from ratchet.actions.retention import RetentionPorts, TaskPolicies
    from ratchet.core.retention import RetentionPolicy
    from ratchet.core.rollout.monitor import MonitorPolicy
    from ratchet.stores.places import record_folders

    def policies_of(task: str) -> TaskPolicies:
        if task not in task_names():
            return TaskPolicies(default_retention(), MonitorPolicy())
        is_own = "retention" in task_spec(task).policies
        retention = policy(task, "retention", RetentionPolicy) if is_own else default_retention()
        return TaskPolicies(retention, policy(task, "monitor", MonitorPolicy))

    return RetentionPorts(
        objects=object_store(),
        ledger=ledger(),
        records=rollout_records(),
        folders=record_folders(settings().ratchet_bucket),
        list_tasks=task_names,
        policies_of=policies_of,
    )


def space_kinds() -> "Mapping[str, str]":
    """What takes room in the object store, by kind, and where it is."""
    from ratchet.stores.places import kinds_of

    names = settings()
    return kinds_of(
        labels=names.labels_bucket, models=names.models_bucket, datasets=names.dvc_bucket, ratchet=names.ratchet_bucket
    )


def _policy_path(spec: TaskSpec, name: str) -> "Path":
    named = spec.policies.get(name)
    return settings().configs_dir / "policies" / named if named else _usual_policy_path(name)


def _usual_policy_path(name: str) -> "Path":
    """The file in the configs' folder, else the one that Ratchet comes with."""
    path = settings().configs_dir / "policies" / f"{name}.yaml"
    return path if path.is_file() else packaged_configs() / "policies" / path.name
