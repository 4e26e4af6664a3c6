"""What the deeds of a rollout act on."""

from dataclasses import dataclass

from ratchet.actions.models.fallback import FallbackProof
from ratchet.actions.models.files import ModelFiles
from ratchet.core.ports import (
    Clock,
    FeedbackStore,
    Gateway,
    InferenceServices,
    Ledger,
    ObjectStore,
    PayloadLog,
    Registry,
    TrafficStats,
)
from ratchet.stores.rollout_orders import RolloutOrders
from ratchet.stores.rollout_record import RolloutRecords


@dataclass(frozen=True, kw_only=True)
class ServingPorts:
    """What giving the traffic back to a champion takes."""

    services: InferenceServices
    ledger: Ledger
    clock: Clock
    files: ModelFiles | None = None
    """Whether a model's files are whole; None: nobody looks."""


@dataclass(frozen=True, kw_only=True)
class RolloutPorts(ServingPorts):
    """What a rollout acts on."""

    stats: TrafficStats
    registry: Registry
    objects: ObjectStore
    """Where the models are."""
    records: RolloutRecords
    orders: RolloutOrders
    gateway: Gateway | None = None
    """None where users' requests enter nobody knows where: then only the status says who has the traffic."""
    payloads: PayloadLog | None = None
    feedback: FeedbackStore | None = None
    proof: FallbackProof | None = None
    """Whether the champion could be served again; None: nobody knows."""
