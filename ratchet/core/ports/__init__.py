"""What the deeds need from the outside world, as Protocols: a file a port. Adapters implement them, fakes too."""

from ratchet.core.ports.catalog import PipelineCatalog, PipelineVersion, Schedule
from ratchet.core.ports.clock import Clock
from ratchet.core.ports.datasets import DatasetStore
from ratchet.core.ports.draws import Draws
from ratchet.core.ports.gateway import Gateway
from ratchet.core.ports.labels import LabelStore
from ratchet.core.ports.ledger import Ledger
from ratchet.core.ports.objects import ObjectStore, StoredObject
from ratchet.core.ports.payloads import FeedbackStore, PayloadLog
from ratchet.core.ports.pipelines import Pipelines, RunArtifact, RunState, RunTables, RunTask
from ratchet.core.ports.probe import ModelProbe, ServedAnswers, StartedServer
from ratchet.core.ports.registry import ModelVersion, Registry
from ratchet.core.ports.services import InferenceServices, ServiceState
from ratchet.core.ports.signing import Signer, TrustedKeys
from ratchet.core.ports.traffic import RevisionCounts, TrafficStats
from ratchet.core.ports.trainer import Trainer

__all__ = [
    "Clock",
    "DatasetStore",
    "Draws",
    "FeedbackStore",
    "Gateway",
    "InferenceServices",
    "LabelStore",
    "Ledger",
    "ModelProbe",
    "ModelVersion",
    "ObjectStore",
    "PayloadLog",
    "PipelineCatalog",
    "PipelineVersion",
    "Pipelines",
    "Registry",
    "RevisionCounts",
    "RunArtifact",
    "RunState",
    "RunTables",
    "RunTask",
    "Schedule",
    "ServedAnswers",
    "ServiceState",
    "Signer",
    "StartedServer",
    "StoredObject",
    "TrafficStats",
    "Trainer",
    "TrustedKeys",
]
