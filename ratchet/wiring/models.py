"""Training, the registry, the ledger and the files of models."""

from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from ratchet.core import ports
from ratchet.core.digest import digest_of
from ratchet.core.uris import parse_s3_uri
from ratchet.wiring import connections, labels, tasks

if TYPE_CHECKING:
    from ratchet.actions.models.batch_places import BatchPlace
    from ratchet.actions.models.batch_predicting import BatchPorts
    from ratchet.actions.models.classes import OutputInUse
    from ratchet.actions.models.fallback import LoadProof
    from ratchet.actions.models.files import ModelFiles
    from ratchet.actions.models.pinned_cases import PinnedRows
    from ratchet.actions.models.reproducing import ReproducePorts
    from ratchet.actions.models.verifying import VerifyPorts
    from ratchet.stores.judgements import Judgements
    from ratchet.stores.models import ModelFolders
    from ratchet.tasks.spec import TaskSpec
    from ratchet.training.learners import Learner


def learner(task: str, run_id: str) -> "Learner":
    """What turns rows into the task's kind of model, on the nodes that the task asks for."""
    spec = tasks.task_spec(task)
    if spec.training.num_nodes == 1:
        return learner_of(spec)
    from ratchet.adapters.kubernetes_api import KubernetesApi
    from ratchet.adapters.scratch import ScratchFolder
    from ratchet.adapters.train_job import TrainJobTrainer
    from ratchet.training.learners import TorchLearner

    settings = connections.settings()
    settings.require("training_dir")
    namespace = settings.training_namespace or settings.namespace
    trainer = TrainJobTrainer(
        KubernetesApi.of(settings.model_copy(update={"namespace": namespace})),
        # The same for each attempt of a step, and nobody else's. 20 digits of a digest: no two runs share it.
        name=f"ratchet-{digest_of([task, run_id])[:20]}",
        task=task,
        num_nodes=spec.training.num_nodes,
        runtime=settings.training_runtime,
        resources=tasks.resource_policy(task),
    )
    folder = Path(settings.training_dir)
    return TorchLearner(trainer, scratch=lambda: ScratchFolder("ratchet-training-", folder=folder))


def learner_of(spec: "TaskSpec") -> "Learner":
    """As `learner`, for a task as a model has it, on this machine alone: as many workers make the same bits there."""
    from ratchet.training.learners import TorchLearner, TreesLearner

    return (TreesLearner if spec.model.learner == "trees" else TorchLearner)(local_trainer())


def local_trainer() -> ports.Trainer:
    """What runs workers on this machine."""
    from ratchet.adapters.local_training import LocalTrainer

    return LocalTrainer()


def draws() -> ports.Draws:
    """Importing Optuna takes a second: the adapter does it when it is asked."""
    from ratchet.adapters.optuna_draws import OptunaDraws

    return OptunaDraws()


@lru_cache
def model_probe() -> ports.ModelProbe:
    from ratchet.adapters.model_server import LocalModelServer

    return LocalModelServer()


@lru_cache
def registry() -> ports.Registry:
    from ratchet.adapters.mlflow import MlflowRegistry

    return MlflowRegistry.of(connections.settings())


@lru_cache
def ledger() -> ports.Ledger:
    from ratchet.stores.ledger import S3Ledger

    return S3Ledger(connections.object_store(), connections.settings().ratchet_bucket, signer=signer())


@lru_cache
def signer() -> ports.Signer | None:
    """None where no key is set: then nothing is signed."""
    from ratchet.adapters.ec_keys import EcSigner

    return EcSigner.of(connections.settings())


@lru_cache
def trusted_keys() -> ports.TrustedKeys | None:
    """None where none are set: then no signature is asked for."""
    from ratchet.adapters.ec_keys import EcTrustedKeys

    return EcTrustedKeys.of(connections.settings())


def judgements() -> "Judgements":
    from ratchet.stores.judgements import Judgements

    return Judgements(connections.object_store(), connections.settings().ratchet_bucket)


def pinned_ids(task: str) -> frozenset[str]:
    """Examples that no training may see."""
    from ratchet.actions.models.pinned_cases import read_cases

    return frozenset(case.id for case in read_cases(tasks.cases_path(task), tasks.task_spec(task).examples))


def pinned_rows(task: str) -> "PinnedRows":
    """The pinned cases, with their pictures read."""
    from ratchet.actions.labels.images import NO_SOURCE
    from ratchet.actions.models.pinned_cases import decoded, read_cases

    schema = tasks.task_spec(task).examples
    cases = read_cases(tasks.cases_path(task), schema)
    images = labels.label_stores().images if any(schema.of_type("image")) else NO_SOURCE
    return decoded(cases, schema, images)


def model_folders() -> "ModelFolders":
    from ratchet.stores.models import ModelFolders

    return ModelFolders(connections.object_store(), connections.settings().models_bucket)


@lru_cache
def model_files() -> "ModelFiles":
    from ratchet.actions.models.files import StoredModelFiles

    is_required = connections.settings().unsigned_models == "refuse"
    return StoredModelFiles(connections.object_store(), trusted_keys(), is_signature_required=is_required)


def load_proof() -> "LoadProof":
    from ratchet.actions.models.fallback import LoadProof
    from ratchet.stores.load_proofs import LoadProofs

    return LoadProof(
        connections.object_store(),
        model_probe(),
        LoadProofs(connections.object_store(), connections.settings().ratchet_bucket),
    )


@lru_cache
def output_in_use() -> "OutputInUse":
    from ratchet.actions.models.classes import OutputInUse

    return OutputInUse(ledger(), connections.object_store(), output_of=lambda task: tasks.task_spec(task).output)


def batch_place(output: str) -> "BatchPlace":
    """A folder here, or a prefix in S3."""
    from ratchet.actions.models.batch_places import place_of

    return place_of(output, connections.object_store(), labels_bucket=connections.settings().labels_bucket)


def batch_ports(source: str) -> "BatchPorts":
    """source: the bucket that it names may hold pictures too."""
    from ratchet.actions.models.batch_inputs import PICTURE_FAULTS, BatchSources
    from ratchet.actions.models.batch_predicting import BatchPorts
    from ratchet.serving.request_images import RequestImages, fetch_from

    found, objects = connections.settings(), connections.object_store()
    buckets = set(found.request_image_buckets)
    if source.startswith("s3://"):
        buckets.add(parse_s3_uri(source)[0])
    return BatchPorts(
        sources=BatchSources(objects, labels.dataset_store),
        objects=objects,
        ledger=ledger(),
        keys=trusted_keys(),
        is_signature_required=found.unsigned_models == "refuse",
        images=RequestImages(fetch_from(objects, buckets, faults=PICTURE_FAULTS)),
    )


def verify_ports() -> "VerifyPorts":
    """SettingsError where no public keys are set."""
    from ratchet.actions.models.verifying import VerifyPorts
    from ratchet.stores.decisions import Decisions

    connections.settings().require("trusted_keys_file")
    keys = trusted_keys()
    assert keys is not None
    return VerifyPorts(
        objects=connections.object_store(),
        datasets=labels.dataset_store,
        ledger=ledger(),
        decisions=Decisions(connections.object_store(), connections.settings().ratchet_bucket),
        keys=keys,
    )


def reproduce_ports() -> "ReproducePorts":
    from ratchet.actions.models.reproducing import ReproducePorts

    return ReproducePorts(
        datasets=labels.dataset_store(),
        objects=connections.object_store(),
        learner_of=learner_of,
        git_commit=connections.settings().git_commit,
    )
